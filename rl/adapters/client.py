"""A reward that another process serves, in the place of one in this process; needs no library."""

import http.client
import json
import urllib.error
import urllib.request

from rl.adapters.texts import Texts
from rl.runtime.errors import InputError, one_line


class Client:
    """Asks `rl.adapters.service`. Raises InputError with what the service says, or that it does not answer."""

    def __init__(self, url: str, token: str, *, timeout: float = 600.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url}: a service's address begins with http:// or https://")
        self.url, self.token, self.timeout = url.rstrip("/"), token, timeout

    def score(self, prompts: Texts, completions: Texts, demonstrations: Texts = ()) -> list[float]:
        """Pay; nothing changes."""
        return self._ask("score", prompts, completions, demonstrations)

    def score_and_update(self, prompts: Texts, completions: Texts, demonstrations: Texts = ()) -> list[float]:
        """Pay, then learn."""
        return self._ask("score_and_update", prompts, completions, demonstrations)

    def _ask(self, what: str, prompts: Texts, completions: Texts, demonstrations: Texts) -> list[float]:
        asked = {
            "prompts": list(prompts),
            "completions": list(completions),
            "demonstrations": list(demonstrations),
        }
        request = urllib.request.Request(f"{self.url}/{what}", json.dumps(asked).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                rewards: list[float] = json.load(answer)["rewards"]
        except urllib.error.HTTPError as error:
            raise InputError(
                f"{self.url}/{what}: {error.code}: {error.read().decode(errors='replace')[:500]}"
            ) from None
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.url}/{what}: no answer: {type(error).__name__}: {one_line(error)}") from None
        return rewards
