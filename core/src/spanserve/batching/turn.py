"""A job's turn: now, or as soon as the runner is free."""

from spanserve.running.protocol import Job, Runner


def on_runner(job: Job, runner: Runner) -> bool:
    """Submit a job now, or when it is its turn; return whether it was now."""
    if runner.free:
        runner.submit(job)
        return True
    runner.when_free(lambda: runner.submit(job))
    return False
