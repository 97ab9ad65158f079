"""deploy/compose.yaml: nothing in it is open or has a known password, and what it starts does a run together."""

import re

import pytest
import yaml
from growth.deployment import DEPLOY, Deployment, compose
from support import CHECKOUT


def test_no_secret_has_a_default_and_no_port_is_open_to_others() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+)([^}]*)\}", text)) == {
        (name, ":?") for name in ("TENFOLD_DB_PASSWORD", "TENFOLD_MLFLOW_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY")
    }
    for name, service in compose()["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert "healthcheck" in service, name


def test_both_instances_differ_in_their_storage_alone() -> None:
    files, tables = (yaml.safe_load(path.read_text()) for path in (CHECKOUT / "dagster.yaml", DEPLOY / "dagster.postgres.yaml"))
    assert tables.pop("storage") != files.pop("storage", None)
    assert files == tables


@pytest.mark.slow
def test_a_run_goes_through_all_services(deployed: Deployment, scored: str) -> None:
    query = f"SELECT asset_key FROM event_logs WHERE run_id = '{scored}' AND dagster_event_type = 'ASSET_MATERIALIZATION'"
    assert deployed.postgres.ask("dagster", query) == [('["scoreboard"]',)]
    host = deployed.postgres.ask("dagster", f"SELECT value FROM run_tags WHERE run_id = '{scored}' AND key = '.dagster/grpc_info'")
    assert str(deployed.ports["4000"]) in str(host)
    assert not [*(deployed.root / ".tenfold" / "dagster").rglob("*.db"), *deployed.root.glob("*.db")], "everything is in PostgreSQL"
