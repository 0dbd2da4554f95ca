"""The SDK's resources, where ours differ: awaitable methods are coroutine functions, and WebSockets are refused.

The SDK wraps some methods in a plain function (`required_args`), so that
`inspect.iscoroutinefunction(client.chat.completions.create)` is False. Some frameworks (ragas) check this.

Each file is imported when it is used: all of them together take longer than `import openai`. Type checkers see the
SDK's own classes, which have the same signatures.
"""
