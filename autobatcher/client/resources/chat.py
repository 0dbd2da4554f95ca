from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from openai.resources.chat import AsyncChat, AsyncCompletions
from openai.types.chat import ChatCompletion

from ..fast_path import FastPath, with_fast_path
from ..parse_method import ParseChat
from ..plain_method import PlainMethod
from ..sdk_internals import parsing_module

CREATE = PlainMethod(AsyncCompletions, "create", "/v1/chat/completions", ChatCompletion, frozenset({"messages"}))
PARSE = ParseChat(AsyncCompletions, ChatCompletion, parsing_module("_completions"))


if not TYPE_CHECKING:

    class BatchChatCompletions(AsyncCompletions):
        def __init__(self, client: Any, client_class: type) -> None:
            super().__init__(client)
            self._fast_path = FastPath(client, client_class)

        create = with_fast_path(CREATE)
        parse = with_fast_path(PARSE)

    class BatchChat(AsyncChat):
        def __init__(self, client: Any, client_class: type) -> None:
            super().__init__(client)
            self._for_completions = client, client_class

        @cached_property
        def completions(self) -> BatchChatCompletions:
            return BatchChatCompletions(*self._for_completions)
