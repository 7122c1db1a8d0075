"""Counters in the text form that Prometheus reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """``requests`` counts by (binding, operation, outcome: ``ok`` or an error's name)."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()

    def render(self, runtime: Mapping[str, float], http: Mapping[str, float]) -> bytes:
        """Return everything; names that end in ``_total`` are counters, the others gauges."""
        return ("\n".join(self._lines({**runtime, **http})) + "\n").encode()

    def _lines(self, plain: Mapping[str, float]) -> Iterator[str]:
        yield "# TYPE greenroom_requests_total counter"
        for (binding, operation, outcome), count in sorted(self.requests.items()):
            yield (
                f'greenroom_requests_total{{binding="{binding}",operation="{operation}",'
                f'outcome="{outcome}"}} {count}'
            )
        for name, value in sorted(plain.items()):
            kind = "counter" if name.endswith("_total") else "gauge"
            yield f"# TYPE greenroom_{name} {kind}"
            yield f"greenroom_{name} {value}"
