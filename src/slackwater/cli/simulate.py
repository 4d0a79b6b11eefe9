"""`slackwater simulate`: an inference server that computes nothing, for tests, demonstrations and capacity planning."""

from pathlib import Path

import rich_click as click


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="Port to listen on; 0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--api-key", help="Ask callers for this key. Without it anybody may call.")
@click.option("--latency-ms", default=20.0, show_default=True, help="Time to the first token.")
@click.option("--latency-sigma", default=0.0, show_default=True, help="Spread of a log-normal latency; 0: constant.")
@click.option("--capacity", default=64, show_default=True, help="Requests served at once; more wait their turn.")
@click.option("--queue-max", type=int, help="Requests that may wait; more get 529 or 429  [default: no limit]")
@click.option("--tokens-per-second", default=0.0, show_default=True, help="Output speed of a request; 0: instant.")
@click.option("--prefill-tokens-per-second", default=0.0, show_default=True, help="Input speed; 0: instant.")
@click.option("--cache-tokens", default=0, show_default=True, help="Size of the prefix cache in tokens; 0: none.")
@click.option("--seed", default=0, show_default=True, help="Fixes latencies and faults, given the order of arrival.")
@click.option("--faults", default="", metavar="SPEC", help="Rates of faults, as in 429=0.3,cut=0.01,retry-after=1")
@click.option(
    "--witness",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append one line to this file for each request that arrives.",
)
def simulate(*, host: str, port: int, api_key: str | None, **behaviour: object) -> None:
    """Answer Messages and Chat Completions requests without a model.

    Says on stderr where it listens. Answers echo the question and are labelled as simulated. A request can order a
    fault in its own text, such as [[sim:status=500 times=2]]. docs/simulator.md lists them all.
    """
    from slackwater.backends.simulated import SimulatedOptions  # noqa: PLC0415  # `--help` does not need it
    from slackwater.backends.simulated.serving import serve  # noqa: PLC0415  # likewise
    from slackwater.clock import SystemClock  # noqa: PLC0415  # likewise

    try:
        options = SimulatedOptions(**behaviour)  # type: ignore[arg-type]  # click has checked the types
        serve(options, SystemClock(), host=host, port=port, api_key=api_key, on_ready=_announce)
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None
    except OSError as problem:
        msg = f"the simulator cannot start: {problem.strerror or problem}"
        raise click.ClickException(msg) from None


def _announce(url: str) -> None:
    """Say where; the line is what scripts that start a simulator wait for."""
    click.echo(f"listening on {url}", err=True)


if __name__ == "__main__":
    simulate()
