"""Provider profiles: the limits and features of each Batch API.

The numbers come from the providers' documentation and sources as of November 2026; each profile names them. None was
tried against the real service. A profile is plain data: pass `provider=dataclasses.replace(OPENAI, max_requests=...)`
to change one, or a file (see provider_file.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .price_note import PriceNote
from .published_prices import (
    AZURE_PRICES,
    DASHSCOPE_PRICES,
    DEEPINFRA_PRICES,
    DOUBLEWORD_PRICES,
    MOONSHOT_PRICES,
    OPENAI_PRICES,
)

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
than one call. Profiles, events and errors always use these names; `url_prefix` says how a provider spells them."""

_OPENAI_PREFIX = "/v1"

# For multipart framing, and for differences between our count and a provider's.
_MARGIN_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ProviderProfile:
    """The limits and features of one provider's Batch API.

    Attributes:
        name: the value of `provider="..."`.
        hosts: host names (subdomains included) that select this profile.
        endpoints: the endpoints that can be batched, in OpenAI's spelling.
        url_prefix: what replaces "/v1" in the `url` of a line and in the `endpoint` of a batch.
        completion_windows: the shortest and the longest window that a batch may have; None if unknown.
        mixes_endpoints: whether one input file may contain different endpoints.
        mixes_models: whether one input file may contain different models.
        needs_model: whether each line must name a model, even if the endpoint has a default.
        max_requests: maximum number of lines in one input file.
        max_file_bytes: maximum size of one input file, in bytes.
        max_line_bytes: maximum size of one line's body, in bytes; None if only the file's size is limited.
        max_embedding_inputs: maximum number of /v1/embeddings inputs in one input file; None if unlimited.
        partial_output: whether output and error files can be read, with `skip=`, while the batch runs.
        file_purpose: the `purpose` of an uploaded input file.
        upload_path: the path of uploads, below the base URL.
        upload_names_file: whether uploads have the file's name in a `file_name` field, too.
        files_expire: whether uploads accept `expires_after`.
        checks_lines_at_upload: whether the upload itself reports an invalid line ("Line 3: ...").
        batches_outlive_files: whether a batch and its results survive the deletion of its input file.
        max_batches_per_hour: maximum number of batches created per hour; None if unlimited.
        priced_windows: the completion windows that are sold at different prices, cheapest first; empty if all cost the
            same. The provider promises to be done within each.
        flex_endpoints: the endpoints whose calls are cheaper with `service_tier="flex"`, in OpenAI's spelling.
        flex_seconds: how long such a call may be silent, in seconds: what is answered later is lost, and billed.
        cancel_seconds: how long a batch may take from being cancelled to being readable, in seconds.
        has_analytics: whether `GET /batches/{id}/analytics` says what a batch cost.
        lists_full_states: whether `GET /batches` shows the newest batches first, and of each what `GET /batches/{id}`
            does. Then batches are polled together.
        price_provider: the provider's id in genai-prices; None to find it by the base URL.
        price_notes: prices that genai-prices does not know, each with its date and source.
        source: where the facts come from, and when they were looked up.
    """

    name: str
    hosts: tuple[str, ...] = ()
    endpoints: frozenset[str] = field(default=BATCHABLE_ENDPOINTS, repr=False)
    url_prefix: str = _OPENAI_PREFIX
    completion_windows: tuple[str, str] | None = None
    mixes_endpoints: bool = False
    mixes_models: bool = False
    needs_model: bool = False
    max_requests: int = 50_000
    max_file_bytes: int = 100_000_000 - _MARGIN_BYTES
    max_line_bytes: int | None = None
    max_embedding_inputs: int | None = 50_000
    partial_output: bool = False
    file_purpose: str = "batch"
    upload_path: str = "/files"
    upload_names_file: bool = False
    files_expire: bool = False
    checks_lines_at_upload: bool = False
    batches_outlive_files: bool = True
    max_batches_per_hour: int | None = None
    priced_windows: tuple[str, ...] = ()
    flex_endpoints: frozenset[str] = frozenset()
    flex_seconds: float = 900.0  # OpenAI's advice (guides/flex-processing, November 2026)
    cancel_seconds: float = 600.0
    has_analytics: bool = False
    lists_full_states: bool = False
    price_provider: str | None = None
    price_notes: tuple[PriceNote, ...] = field(default=(), repr=False)
    source: str = field(default="", repr=False, compare=False)

    def line_url(self, endpoint: str) -> str:
        """Return the provider's spelling of an endpoint, such as "/v4/embeddings" for "/v1/embeddings"."""
        if self.url_prefix == _OPENAI_PREFIX:
            return endpoint
        return self.url_prefix + endpoint.removeprefix(_OPENAI_PREFIX)


_CHAT, _COMPLETIONS, _EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
_ONE_DAY = ("24h", "24h")
_CHAT_AND_RESPONSES = frozenset({_CHAT, "/v1/responses"})

OPENAI = ProviderProfile(
    name="openai",
    hosts=("openai.com",),
    completion_windows=_ONE_DAY,
    max_file_bytes=200_000_000 - _MARGIN_BYTES,
    files_expire=True,
    max_batches_per_hour=2_000,
    # The flex processing guide, 25 November 2026: chat and responses, at the price of a batch, in beta.
    flex_endpoints=_CHAT_AND_RESPONSES,
    # openai-python 3.51, resources/batches.py: "cancelling" for up to ten minutes.
    cancel_seconds=600.0,
    # The same: `Batches.list` gives the `Batch` objects that `retrieve` gives.
    lists_full_states=True,
    price_provider="openai",
    price_notes=OPENAI_PRICES,
    source="OpenAI's Batch API guide and openai-python 3.51, November 2026",
)
"""50,000 requests, 200 MB (decimal, to be safe), 50,000 embedding inputs, one endpoint and one model per file."""

DOUBLEWORD = ProviderProfile(
    name="doubleword",
    hosts=("doubleword.ai",),
    endpoints=frozenset({_CHAT, _COMPLETIONS, _EMBEDDINGS, "/v1/responses"}),
    completion_windows=("1h", "24h"),
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
    # Its server's sample configuration sells both; a longer window is cheaper (25 November 2026).
    priced_windows=("24h", "1h"),
    # Its server (inference/middleware.rs), 25 November 2026. Not embeddings: there the tier is ignored without a word,
    # and real time is charged.
    flex_endpoints=_CHAT_AND_RESPONSES,
    # It holds such calls for up to an hour, and answers 504 then (the same).
    flex_seconds=3_660.0,
    # Its server, 25 November 2026: lines that wait are not begun, those in flight finish. A minute is our guess.
    cancel_seconds=60.0,
    has_analytics=True,
    lists_full_states=True,
    price_provider="doubleword",
    price_notes=DOUBLEWORD_PRICES,
    source="its open source server (control-layer 10.13), November 2026",
)
"""Limits are the defaults of its open source server. Output can be read while a batch runs. Deleting a file deletes its
batches with their results and costs, so input files are left to expire."""

AZURE = ProviderProfile(
    name="azure",
    hosts=("openai.azure.com", "services.ai.azure.com"),
    endpoints=frozenset({_CHAT, _EMBEDDINGS, "/v1/responses"}),
    completion_windows=_ONE_DAY,
    max_file_bytes=200_000_000 - _MARGIN_BYTES,
    price_provider="azure",
    price_notes=AZURE_PRICES,
    source="learn.microsoft.com, how-to/batch and the REST reference, November 2026",
)
"""The /openai/v1 API. `model` is the name of the deployment. No flex (25 November 2026): it is a preview, for Global
Standard deployments only, and others answer 400; add `flex_endpoints` if yours has it. Not verified: the larger limits
of the how-to (100,000 lines; 1 GB with your own storage)."""

GROQ = ProviderProfile(
    name="groq",
    hosts=("groq.com",),
    endpoints=frozenset({_CHAT}),
    completion_windows=("24h", "7d"),
    max_embedding_inputs=None,
    price_provider="groq",
    source="console.groq.com/docs/batch and groq-python, November 2026",
)
"""The file size is the 100 MB of the SDK's docstring. Newer documentation says 200. No flex: Groq's tier of that name
costs the full price (25 November 2026). Not verified: whether one file may contain several models."""

NEBIUS = ProviderProfile(
    name="nebius",
    hosts=("nebius.com",),
    endpoints=frozenset({_CHAT, _EMBEDDINGS}),
    completion_windows=_ONE_DAY,
    max_requests=5_000_000,
    max_file_bytes=10_000_000_000 - _MARGIN_BYTES,
    max_embedding_inputs=None,
    source="docs.tokenfactory.nebius.com, November 2026",
)

DEEPINFRA = ProviderProfile(
    name="deepinfra",
    hosts=("deepinfra.com",),
    endpoints=frozenset({_CHAT, _COMPLETIONS, _EMBEDDINGS}),
    completion_windows=_ONE_DAY,
    price_notes=DEEPINFRA_PRICES,
    source="docs.deepinfra.com/batch/batch-endpoints, November 2026",
)
"""Not verified: the limits."""

SILICONFLOW = ProviderProfile(
    name="siliconflow",
    hosts=("siliconflow.cn", "siliconflow.com"),
    endpoints=frozenset({_CHAT}),
    completion_windows=("24h", "336h"),
    max_requests=5_000,
    max_file_bytes=1_000_000_000 - _MARGIN_BYTES,
    max_embedding_inputs=None,
    source="docs.siliconflow.cn, guides/batch and api-reference/batch, November 2026",
)
"""5,000 lines, 1 GB and one model per file. Uploads answer with the file object inside `data`. A new batch is
"in_queue" and has no counts. Not verified: deleting files and reading results (neither call is documented), and whether
the international host has batches."""

ZHIPU = ProviderProfile(
    name="zhipu",
    hosts=("bigmodel.cn",),
    endpoints=frozenset({_CHAT, _EMBEDDINGS}),
    url_prefix="/v4",
    completion_windows=_ONE_DAY,
    max_embedding_inputs=10_000,
    price_provider="zhipuai",
    source="docs.bigmodel.cn (batch guide, FAQ, API reference) and z-ai-sdk-python, November 2026",
)
"""Lines and batches are for `/v4/...`. 50,000 requests and 100 MB per file; 10,000 requests if they are embeddings. The
service deletes input files itself. Not verified: embeddings (the guide and the FAQ mention them, the reference lists
chat only), and whether one file may contain several models."""

DASHSCOPE = ProviderProfile(
    name="dashscope",
    hosts=("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "maas.aliyuncs.com"),
    endpoints=frozenset({_CHAT, _EMBEDDINGS}),
    price_notes=DASHSCOPE_PRICES,
    source="help.aliyun.com, OpenAI compatible Batch (file input) and openai-batch-interface, November 2026",
)
"""Alibaba's Model Studio, below `/compatible-mode/v1`. 50,000 requests and 100 MB come from the older page. Not
verified: larger files, a limit per line, windows other than 24h, and whether one file may contain several models."""

MOONSHOT = ProviderProfile(
    name="moonshot",
    hosts=("moonshot.cn", "moonshot.ai"),
    endpoints=frozenset({_CHAT}),
    completion_windows=("12h", "7d"),
    max_embedding_inputs=None,
    price_provider="moonshotai",
    price_notes=MOONSHOT_PRICES,
    source="platform.kimi.ai/docs/api/batch-create and guide/use-batch-api, November 2026",
)
"""Kimi: 100 MB and one model per file, 1,000 batch files per organisation. The models reject `temperature` and `top_p`
in a batch. Not verified: the number of requests per file."""

TOGETHER = ProviderProfile(
    name="together",
    hosts=("together.ai", "together.xyz"),
    endpoints=frozenset({_CHAT}),
    completion_windows=_ONE_DAY,
    max_embedding_inputs=None,
    file_purpose="batch-api",
    upload_path="/files/upload",
    upload_names_file=True,
    price_provider="together",
    source="docs.together.ai/docs/inference/batch; its upload by vienneraphael/batchling, November 2026",
)
"""50,000 requests and 100 MB per file. Batch objects have no metadata and no counts, so a batch is found by its input
file. Not verified: the upload (Together's own SDK uses another way), and whether one file may contain several
models."""

MISTRAL = ProviderProfile(
    name="mistral",
    endpoints=frozenset({_CHAT}),
    max_embedding_inputs=None,
    price_provider="mistral",
    source="docs.litellm.ai/docs/providers/mistral_batches, 2 October 2026",
)
"""Mistral behind a gateway that has OpenAI's API, such as LiteLLM's. Mistral's own API (`/v1/batch/jobs`, with objects
and statuses of its own) is not OpenAI-shaped: no profile can reach it, so no host selects this one. The gateway can
neither list nor cancel batches. Not verified: all of it."""

NOVITA = ProviderProfile(
    name="novita",
    hosts=("novita.ai",),
    endpoints=frozenset({_CHAT, _COMPLETIONS}),
    max_embedding_inputs=None,
    price_provider="novita",
    source="novita.ai/docs/guides/llm-batch-api, May 2026",
)
"""One model per file. Statuses are in upper case, times and errors are text. Not verified: the limits, and the window
(24h in some of the documents, 48h in others)."""

CONSERVATIVE = ProviderProfile(name="conservative")
"""For unknown servers: the strictest of the known limits. All endpoints are allowed; the server decides."""

KNOWN_PROFILES = (
    *(OPENAI, DOUBLEWORD, AZURE, GROQ, NEBIUS, DEEPINFRA),
    *(SILICONFLOW, ZHIPU, DASHSCOPE, MOONSHOT, TOGETHER, MISTRAL, NOVITA),
    CONSERVATIVE,
)


def profile_named(name: str) -> ProviderProfile:
    """Return the profile called `name`.

    Raises:
        ValueError: if there is none. The message lists the known names.
    """
    for profile in KNOWN_PROFILES:
        if profile.name == name:
            return profile
    known = ", ".join(profile.name for profile in KNOWN_PROFILES)
    raise ValueError(f"provider must be one of {known}, a TOML or JSON file, or a ProviderProfile; not {name!r}")


def known_profile(name: str) -> ProviderProfile:
    """Return the profile called `name`; `CONSERVATIVE` if it is not one of ours."""
    return next((profile for profile in KNOWN_PROFILES if profile.name == name), CONSERVATIVE)


def profile_for(base_url: str) -> ProviderProfile:
    """Return the profile for a base URL, by its host; `CONSERVATIVE` for unknown hosts."""
    host = urlsplit(base_url).hostname or ""
    for profile in KNOWN_PROFILES:
        if any(host == known or host.endswith("." + known) for known in profile.hosts):
            return profile
    return CONSERVATIVE
