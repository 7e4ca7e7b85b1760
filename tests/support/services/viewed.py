"""A service whose traces are worth a look: slow enough to batch, failing on demand, hostile."""

import time

from spanserve import api, service, span

HOSTILE = (
    "<img src=x onerror=\"document.title='hostile'\">",
    "<script>document.title='hostile'</script>",
    '"><svg onload="document.title=\'hostile\'">',
    "javascript:document.title='hostile'",
    "{{constructor.constructor('document.title=1')()}}",
    "a\u202eb\x00c\nd",
)


@service
class Viewed:
    """Measures words."""

    @api(batch=True, max_batch_size=8, max_latency_ms=50)
    def measure(self, words: list[str]) -> list[int]:
        """Return their lengths; `bad` fails, and `evil` has spans of evil names."""
        with span("look up", words=len(words)):
            time.sleep(0.004)
        for word in words:
            if word == "bad":
                raise ValueError("a bad word: <img src=x onerror=\"document.title='hostile'\">")
            if word == "evil":
                _evil()
        time.sleep(0.004)
        return [len(word) for word in words]

    @api
    async def echo(self, word: str) -> str:
        """Return it."""
        return word


def _evil() -> None:
    for text in HOSTILE:
        with span(text, text=text, **{text.replace("\x00", ""): text}):
            pass
