"""The code location: assets of all papers, their jobs, schedules and sensors. Loading it imports no torch."""

import gc

import dagster as dg

from assets.scoreboard import scoreboard_of
from assets.shared import Home
from pipelines import jobs, papers, schedules, sensors, waiting


@dg.definitions
def defs() -> dg.Definitions:
    """Everything `dagster` shows."""
    # Dagster's own objects live for ever: collections while ours are built need not walk them again (0.4 CPU s a load).
    gc.freeze()
    waiting.install()
    modules = papers.modules()
    assets = [asset for module in modules.values() for asset in module.ASSETS]
    paper_jobs = {name: jobs.paper_job(name, module) for name, module in modules.items()}
    return dg.Definitions(
        assets=[*dg.with_source_code_references(assets), scoreboard_of(modules)],
        jobs=[*paper_jobs.values(), jobs.scoreboard_job()],
        schedules=[schedules.weekly(name, module, paper_jobs[name]) for name, module in modules.items()],
        sensors=[sensors.dvc_versions(modules, list(paper_jobs.values())), sensors.failures(), sensors.scoreboard_follows()],
        resources={"home": Home()},
        executor=dg.in_process_executor,
    )
