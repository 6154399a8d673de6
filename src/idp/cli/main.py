"""Entry point of `idp` and its error output."""

import sys


def main() -> None:
    """Run the command. An expected error is one sentence on stderr and an exit code (docs/cli.md)."""
    from idp.cli.streams import lasting_streams

    with lasting_streams():
        _run()


def _run() -> None:
    try:
        from idp.cli.commands import cli

        cli(prog_name="idp")
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:  # before a command installed its handler
        sys.exit(130)
    except Exception as error:
        from idp.cli.failure import explain

        sentence = explain(error)
        if sentence is None:
            raise
        print(sentence, file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))


if __name__ == "__main__":
    main()
