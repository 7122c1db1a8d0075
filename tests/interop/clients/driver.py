# mypy: ignore-errors
"""Run scenarios on request: `{"transport", "scenario", "url"}` and what else the scenario takes
in, the outcome out; JSON lines.

Runs in the foreign client's environment, so the standard library is all there is.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback

PATIENCE = 20.0


def serve(scenarios, describe_error):
    """Answer requests until stdin ends.

    `scenarios` maps names to `async def scenario(url, transport, **more)`; `describe_error` makes a
    dict of an exception that the client raised for an error of the protocol, or None if it is not
    one.
    """
    print(json.dumps({"scenarios": sorted(scenarios)}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        scenario = scenarios[asked.pop("scenario")]
        answer = asyncio.run(_guarded(scenario, asked, describe_error))
        print(json.dumps(answer), flush=True)


async def _guarded(scenario, asked, describe_error):
    try:
        async with asyncio.timeout(PATIENCE):
            return {"result": await scenario(**asked)}
    except Exception as error:
        if found := describe_error(error):
            return {"error": found}
        return {"crash": traceback.format_exc()}
