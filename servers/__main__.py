"""python -m servers NAME [--port P | --unix PATH] | list | client | ..."""

import argparse
import dataclasses
import importlib
import json
import signal
import sys

from servers import catalog, client, command_line, common, datagrams, discover


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m servers")
    commands = parser.add_subparsers(required=True, metavar="NAME")

    for model in catalog.MODELS:
        command = commands.add_parser(model.name, help=model.idea)
        command_line.add_options(command, common.RECEIVE_BYTES)
        command_line.add_parameters(command, set(model.parameters))
        command.set_defaults(run=serve, model=model, serve=common.run)

    for model in catalog.DATAGRAMS:
        command = commands.add_parser(model.name, help=model.idea)
        datagrams.add_options(command)
        command.set_defaults(run=serve, model=model, serve=datagrams.run)

    command = commands.add_parser("list", help="All servers, as a table.")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=show)

    command = commands.add_parser("client", help="Talk to one of them.")
    client.add_options(command)
    command.set_defaults(run=client.run)

    command = commands.add_parser("discover", help="Find them on the network.")
    discover.add_options(command)
    command.set_defaults(run=discover.run)

    words = sys.argv[1:2]
    if words and words[0] not in commands.choices and words[0][:1] != "-":
        parser.error(catalog.unknown("server", words[0], commands.choices))
    options = parser.parse_args()
    options.run(options)


def serve(options: argparse.Namespace) -> None:
    """Run one server until it is told to stop."""
    missing = options.model.missing()
    if missing:
        sys.exit(f"error: {options.model.name} cannot run here: {missing}")
    module = importlib.import_module(options.model.module)
    options.serve(module.serve, options)


def show(options: argparse.Namespace) -> None:
    """Print the catalog."""
    # Who has read enough (`| head`) ends this quietly, as any other command.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if options.json:
        rows = [dataclasses.asdict(v) for v in catalog.every()]
        common.say(json.dumps(rows, indent=2).encode() + b"\n")
        return
    table = [("family", "server", "waits in", "cost per wake-up", "breaks")]
    families = dict.fromkeys(v.family for v in catalog.every())
    for family in families:
        table += [
            (v.family, v.name, v.waits, v.cost, v.missing() or v.breaks)
            for v in catalog.every()
            if v.family == family
        ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = zip(row, widths, strict=True)
        line = "  ".join(text.ljust(width) for text, width in cells).rstrip()
        common.say(line.encode() + b"\n")


if __name__ == "__main__":
    main()
