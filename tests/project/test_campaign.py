"""The campaign, for a moment: whoever runs it for minutes should not find it broken."""

import pytest
from rich.console import Console

from campaign.cli import show
from campaign.run import campaign
from campaign.scenarios import SCENARIOS, hostile_bodies, leaving_clients, quiet


def test_a_short_campaign_tells_what_became_of_requests_and_spans(
    capsys: pytest.CaptureFixture[str],
) -> None:
    heard: list[str] = []
    chosen = (quiet, leaving_clients, hostile_bodies)
    result = campaign(chosen, 0.5, 1, heard.append)
    assert heard == ["quiet", "leaving_clients", "hostile_bodies"]
    assert (result.failed, result.lost, result.exit_code) == (0, 0, 0)
    assert all(row.found.seconds for row in result.rows)
    assert result.spans["received"] >= result.spans["delivered"] > 0
    show(result, Console(width=120))
    assert "requests failed that should not have: 0" in capsys.readouterr().out


def test_every_scenario_says_what_it_does() -> None:
    assert [each.__name__ for each in SCENARIOS if not each.__doc__] == []
