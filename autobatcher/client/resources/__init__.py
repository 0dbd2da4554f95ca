"""The SDK's resources, but for this: what one awaits is a coroutine function, and what would go past every batch is
refused.

The SDK checks the arguments of some methods in a plain function around them (`required_args`), so that
`inspect.iscoroutinefunction(client.chat.completions.create)` is False; frameworks (ragas, for one) ask.

A file for each, imported when it is used, as the SDK does it: all of them together take longer than `import openai`.
Type checkers see the SDK's own, whose signatures these have.
"""
