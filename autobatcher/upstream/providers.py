"""Provider profiles: what each Batch API lets travel together, its limits, and what it can do beyond OpenAI's.

The numbers come from the providers' documents and sources as of November 2026; a profile is data, so that a user
who knows better can pass `provider=dataclasses.replace(OPENAI, max_requests=...)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

BATCHABLE_ENDPOINTS = frozenset(
    {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/images/edits",
        "/v1/images/generations",
        "/v1/moderations",
        "/v1/responses",
    }
)
"""What OpenAI's Batch API takes (openai-python, types/batch_create_params.py), less /v1/videos, which is no call of
one answer. A line's `url` is always one of these, whatever path the provider's base URL has."""

# Multipart framing, and the difference between what we count and what a provider counts.
_MARGIN_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ProviderProfile:
    """What one provider's Batch API takes and does.

    Attributes:
        name: how `provider="..."` and events call it.
        hosts: host names (and their subdomains) that this profile is chosen for.
        endpoints: what a line's `url` may be.
        mixes_endpoints: whether one input file may hold lines of different endpoints.
        mixes_models: whether one input file may hold lines of different models.
        needs_model: whether each line must name a model, also where the endpoint has a default.
        max_requests: lines in one input file.
        max_file_bytes: size of one input file.
        max_line_bytes: size of one line's body; None if only the file's size limits it.
        max_embedding_inputs: inputs of /v1/embeddings, summed over one input file; None if unlimited.
        partial_output: whether output and error files can be read, with `skip=`, while the batch runs.
        file_purpose: the `purpose` that an input file is uploaded with.
        files_expire: whether an upload takes `expires_after`.
        checks_lines_at_upload: whether a bad line is named ("Line 3: ...") when its file is uploaded.
        batches_outlive_files: whether a batch, and its results, stay when its input file is deleted.
        max_batches_per_hour: how many batches may be created in an hour; None if unlimited.
    """

    name: str
    hosts: tuple[str, ...] = ()
    endpoints: frozenset[str] = field(default=BATCHABLE_ENDPOINTS, repr=False)
    mixes_endpoints: bool = False
    mixes_models: bool = False
    needs_model: bool = False
    max_requests: int = 50_000
    max_file_bytes: int = 100_000_000 - _MARGIN_BYTES
    max_line_bytes: int | None = None
    max_embedding_inputs: int | None = 50_000
    partial_output: bool = False
    file_purpose: str = "batch"
    files_expire: bool = False
    checks_lines_at_upload: bool = False
    batches_outlive_files: bool = True
    max_batches_per_hour: int | None = None


OPENAI = ProviderProfile(
    name="openai",
    hosts=("openai.com",),
    max_file_bytes=200_000_000 - _MARGIN_BYTES,
    files_expire=True,
    max_batches_per_hour=2_000,
)
"""50,000 requests, 200 MB (decimal, to be safe), 50,000 embedding inputs, one endpoint and one model a file."""

DOUBLEWORD = ProviderProfile(
    name="doubleword",
    hosts=("doubleword.ai",),
    endpoints=frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"}),
    mixes_endpoints=True,
    mixes_models=True,
    needs_model=True,
    max_file_bytes=100 * 2**20 - _MARGIN_BYTES,
    max_line_bytes=10 * 2**20,
    max_embedding_inputs=None,
    partial_output=True,
    files_expire=True,
    checks_lines_at_upload=True,
    batches_outlive_files=False,
)
"""Limits are the defaults of its open source server; output can be read while a batch runs. Deleting a file deletes
its batches there, with results and costs, so input files are left to expire."""

AZURE = ProviderProfile(
    name="azure",
    hosts=("openai.azure.com", "services.ai.azure.com"),
    endpoints=frozenset({"/v1/chat/completions", "/v1/embeddings", "/v1/responses"}),
    max_file_bytes=200_000_000 - _MARGIN_BYTES,
)
"""The /openai/v1 surface; `model` is the deployment's name."""

GROQ = ProviderProfile(
    name="groq", hosts=("groq.com",), endpoints=frozenset({"/v1/chat/completions"}), max_embedding_inputs=None
)
"""The file size is the SDK docstring's 100 MB; newer documents say 200."""

NEBIUS = ProviderProfile(
    name="nebius",
    hosts=("nebius.com",),
    endpoints=frozenset({"/v1/chat/completions", "/v1/embeddings"}),
    max_requests=5_000_000,
    max_file_bytes=10_000_000_000 - _MARGIN_BYTES,
    max_embedding_inputs=None,
)

DEEPINFRA = ProviderProfile(
    name="deepinfra",
    hosts=("deepinfra.com",),
    endpoints=frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"}),
)

CONSERVATIVE = ProviderProfile(name="conservative")
"""For servers we know nothing of: the strictest of the known rules, every endpoint left to the server to judge."""

KNOWN_PROFILES = (OPENAI, DOUBLEWORD, AZURE, GROQ, NEBIUS, DEEPINFRA, CONSERVATIVE)


def profile_named(name: str) -> ProviderProfile:
    """The profile called `name`.

    Raises:
        ValueError: naming `provider` and the known names.
    """
    for profile in KNOWN_PROFILES:
        if profile.name == name:
            return profile
    known = ", ".join(profile.name for profile in KNOWN_PROFILES)
    raise ValueError(f"provider must be one of {known}, or a ProviderProfile; not {name!r}")


def profile_for(base_url: str) -> ProviderProfile:
    """The profile for an upstream's base URL, by its host; the conservative one for a host nobody knows."""
    host = urlsplit(base_url).hostname or ""
    for profile in KNOWN_PROFILES:
        if any(host == known or host.endswith("." + known) for known in profile.hosts):
            return profile
    return CONSERVATIVE
