"""The adversarial reward over HTTP, for loops in other processes: `/score`, `/score_and_update`, `/health`.

One process holds the discriminator and answers one request at a time, so that its updates have an order. Every request
but `/health` carries the token: `Authorization: Bearer TOKEN`.
"""

import secrets
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rl.adapters.adversarial_reward import AdversarialReward
from rl.adapters.gathering import Gathering
from rl.adapters.texts import Here, Texts
from rl.runtime.errors import Diverged, InputError, one_line

Text = str | list[int] | list[dict[str, str]]
MOST_BYTES, MOST_ROWS = 8 << 20, 4096


class Generation(BaseModel):
    """Completions to pay, each with its prompt and, unless the service has a pool, a demonstration."""

    model_config = ConfigDict(extra="forbid")

    prompts: list[Text] = Field(min_length=1, max_length=MOST_ROWS)
    completions: list[Text]
    demonstrations: list[Text] = []

    @model_validator(mode="after")
    def _equally_many(self) -> "Generation":
        counts = len(self.prompts), len(self.completions), len(self.demonstrations) or len(self.prompts)
        if len(set(counts)) > 1:
            raise ValueError(f"{counts[0]} prompts, {counts[1]} completions, {counts[2]} demonstrations")
        return self


class Paid(BaseModel):
    """What completions earn, and numbers of the game where it was learned from them."""

    rewards: list[float]
    metrics: dict[str, float] = {}


def nothing() -> None:
    """Do nothing."""


def app_of(
    reward: AdversarialReward,
    token: str,
    *,
    vocabulary: int,
    generation: int = 0,
    most_bytes: int = MOST_BYTES,
    learned: Callable[[], None] = nothing,
) -> FastAPI:
    """Return the application; ids of a request are below `vocabulary`, its body is at most `most_bytes` long.

    It learns once `generation` completions have been paid, over as many requests as that takes; 0: from each request by
    itself. `learned` is called after every update, before the next request is looked at. Raises ValueError for a token
    that is easily guessed: under 16 characters.
    """
    if len(token) < 16:
        raise ValueError(f"token: {len(token)} characters are guessed too easily, give at least 16")
    app, turn = FastAPI(title="adversarial reward"), threading.Lock()
    payer = Gathering(reward, generation) if generation else Here(reward)

    def pay(asked: Generation, how: Callable[[Texts, Texts, Texts], list[float]]) -> list[float]:
        if (wrong := _unknown(asked, vocabulary)) is not None:
            raise HTTPException(422, f"id {wrong}: there are {vocabulary}, from 0")
        try:
            return how(asked.prompts, asked.completions, asked.demonstrations)
        except (InputError, ValueError, IndexError) as error:
            raise HTTPException(422, one_line(error)) from error
        except Diverged as error:
            raise HTTPException(500, str(error)) from error

    @app.middleware("http")
    async def admitted(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        """Refuse before the body is read."""
        if request.url.path == "/health":
            return await answer(request)
        given, length = request.headers.get("authorization", ""), request.headers.get("content-length", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return JSONResponse({"detail": "a bearer token is required"}, 401, {"WWW-Authenticate": "Bearer"})
        if request.method == "POST" and not length.isdecimal():
            return JSONResponse({"detail": "Content-Length is required"}, 411)
        if request.method == "POST" and int(length) > most_bytes:
            return JSONResponse({"detail": f"the body has {length} bytes, at most {most_bytes} are read"}, 413)
        return await answer(request)

    @app.exception_handler(RequestValidationError)
    async def told(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        return JSONResponse({"detail": f"{where}: {first['msg']}"}, 422)

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "generations": reward.generations}

    @app.post("/score")
    def score(asked: Generation) -> Paid:
        with turn:
            return Paid(rewards=pay(asked, payer.score))

    @app.post("/score_and_update")
    def score_and_update(asked: Generation) -> Paid:
        with turn:
            before = reward.generations
            paid = Paid(rewards=pay(asked, payer.score_and_update), metrics=payer.metrics)
            if reward.generations > before:
                learned()
            return paid

    return app


def _unknown(asked: Generation, vocabulary: int) -> int | None:
    """Return an id that is none."""
    texts = (*asked.prompts, *asked.completions, *asked.demonstrations)
    ids = (part for text in texts if isinstance(text, list) for part in text if isinstance(part, int))
    return next((one for one in ids if not 0 <= one < vocabulary), None)
