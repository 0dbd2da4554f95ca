"""Provider profiles: the limits and features of each Batch API.

The numbers come from the providers' documentation and sources as of November 2026. A profile is plain data: pass
`provider=dataclasses.replace(OPENAI, max_requests=...)` to change one.
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
"""The endpoints of OpenAI's Batch API (openai-python, types/batch_create_params.py) except /v1/videos, which takes more
than one call. A line's `url` is always one of these, whatever path the provider's base URL has."""

# For multipart framing, and for differences between our count and a provider's.
_MARGIN_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ProviderProfile:
    """The limits and features of one provider's Batch API.

    Attributes:
        name: the value of `provider="..."`.
        hosts: host names (subdomains included) that select this profile.
        endpoints: the values that a line's `url` may have.
        mixes_endpoints: whether one input file may contain different endpoints.
        mixes_models: whether one input file may contain different models.
        needs_model: whether each line must name a model, even if the endpoint has a default.
        max_requests: maximum number of lines in one input file.
        max_file_bytes: maximum size of one input file, in bytes.
        max_line_bytes: maximum size of one line's body, in bytes; None if only the file's size is limited.
        max_embedding_inputs: maximum number of /v1/embeddings inputs in one input file; None if unlimited.
        partial_output: whether output and error files can be read, with `skip=`, while the batch runs.
        file_purpose: the `purpose` of an uploaded input file.
        files_expire: whether uploads accept `expires_after`.
        checks_lines_at_upload: whether the upload itself reports an invalid line ("Line 3: ...").
        batches_outlive_files: whether a batch and its results survive the deletion of its input file.
        max_batches_per_hour: maximum number of batches created per hour; None if unlimited.
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
"""50,000 requests, 200 MB (decimal, to be safe), 50,000 embedding inputs, one endpoint and one model per file."""

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
"""Limits are the defaults of its open source server. Output can be read while a batch runs. Deleting a file deletes its
batches with their results and costs, so input files are left to expire."""

AZURE = ProviderProfile(
    name="azure",
    hosts=("openai.azure.com", "services.ai.azure.com"),
    endpoints=frozenset({"/v1/chat/completions", "/v1/embeddings", "/v1/responses"}),
    max_file_bytes=200_000_000 - _MARGIN_BYTES,
)
"""The /openai/v1 API. `model` is the name of the deployment."""

GROQ = ProviderProfile(
    name="groq", hosts=("groq.com",), endpoints=frozenset({"/v1/chat/completions"}), max_embedding_inputs=None
)
"""The file size is the 100 MB of the SDK's docstring. Newer documentation says 200."""

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
"""For unknown servers: the strictest of the known limits. All endpoints are allowed; the server decides."""

KNOWN_PROFILES = (OPENAI, DOUBLEWORD, AZURE, GROQ, NEBIUS, DEEPINFRA, CONSERVATIVE)


def profile_named(name: str) -> ProviderProfile:
    """Return the profile called `name`.

    Raises:
        ValueError: if there is none. The message lists the known names.
    """
    for profile in KNOWN_PROFILES:
        if profile.name == name:
            return profile
    known = ", ".join(profile.name for profile in KNOWN_PROFILES)
    raise ValueError(f"provider must be one of {known}, or a ProviderProfile; not {name!r}")


def profile_for(base_url: str) -> ProviderProfile:
    """Return the profile for a base URL, by its host; `CONSERVATIVE` for unknown hosts."""
    host = urlsplit(base_url).hostname or ""
    for profile in KNOWN_PROFILES:
        if any(host == known or host.endswith("." + known) for known in profile.hosts):
            return profile
    return CONSERVATIVE
