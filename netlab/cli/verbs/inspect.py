"""Verbs that inspect a lab and do not change it: status, exec, port-forward, logs, next."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from netlab.cli import render
from netlab.cli.options import Format, FormatOption, LabArgument, note, program


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(status)
    app.command(name="exec", context_settings={"allow_interspersed_args": False})(execute)
    app.command(name="port-forward")(port_forward)
    app.command()(logs)
    app.command(name="next")(next_steps)


def status(name: LabArgument = "", form: FormatOption = Format.TABLE) -> None:
    """Show a lab's nodes, pods and Services.

    Without NAME: shows every lab; the JSON or YAML result is then a list for any number of labs.

    \b
    Example: netlab status
    Example: netlab status quickstart -f json
    """
    from netlab.lab.find import how_to_see_one, lab_named, recorded_labs
    from netlab.lab.status import status as lab_status

    documents = [lab_status(lab_named(lab)) for lab in ((name,) if name else recorded_labs())]
    if form is not Format.TABLE:
        print(render.document(documents[0] if name else documents, form))
    elif documents:
        print("\n\n".join(map(render.status, documents)))
    else:
        note(f"No lab is running. {how_to_see_one()}")


def execute(
    target: Annotated[str, typer.Argument(metavar="HOST|[NAMESPACE/]POD", help="A node, a client, edge, fabric, or a pod.")],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="The command to run there.")],
    lab: Annotated[str, typer.Option(help="Name of the lab; optional if just one runs.")] = "",
    container: Annotated[str, typer.Option("--container", "-c", help="Container of the pod; default: the first.")] = "",
) -> None:
    """Run a command inside a node, a client, the edge or a pod.

    Returns the exit code of the command.

    \b
    Example: netlab exec node1 -- ip route
    Example: netlab exec client -- curl -s http://198.51.100.1/
    Example: netlab exec blue -- cat /etc/resolv.conf     (one pod whose name begins with blue)
    Example: netlab exec --lab quickstart node1 -- ip route
    """
    from netlab.lab.execute import execute as run_inside
    from netlab.lab.find import lab_named

    words = command[1:] if command[0] == "--" else command  # the parser stops at HOST and leaves the dashes
    raise typer.Exit(run_inside(lab_named(lab), target, words, container=container))


def port_forward(
    target: Annotated[str, typer.Argument(metavar="svc/NAME|deploy/NAME|[NAMESPACE/]POD", help="Target of the ports.")],
    ports: Annotated[list[str], typer.Argument(metavar="[LOCAL:]REMOTE...", help="Ports; LOCAL 0: any free port.")],
    lab: Annotated[str, typer.Option(help="Name of the lab; optional if just one runs.")] = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the target.")] = "",
    address: Annotated[list[str] | None, typer.Option(help="Loopback address to listen on; repeatable.")] = None,
) -> None:
    """Open ports on this machine that lead into a pod.

    The ports listen on loopback until ^C, for a browser, curl or any other client.

    \b
    Example: netlab port-forward svc/blue 8080:80     (then open http://127.0.0.1:8080/)
    Example: netlab port-forward deploy/kuard 0:http
    """
    from netlab.lab import forward
    from netlab.lab.find import lab_named
    from netlab.lab.forward_target import parse_addresses, parse_port, parse_target

    wanted, requests, addresses = parse_target(target, namespace), tuple(map(parse_port, ports)), parse_addresses(address or ())
    state = lab_named(lab)
    plan = forward.find(state, wanted, requests)
    with forward.listening(plan, addresses) as listeners:

        def ready() -> None:
            note(f"{target}: pod {plan.pod.key} on {plan.pod.spec.node_name}. End with ^C.")
            print(*listeners, sep="\n", flush=True)

        forward.serve(state, plan.pod, listeners, ready, note)


def logs(
    target: Annotated[
        str, typer.Argument(metavar="[NAMESPACE/]POD|PROCESS", help="A pod, or daemon, agent-node1, edge, ...")
    ] = "",
    lab: Annotated[str, typer.Option(help="Name of the lab; optional if just one runs.")] = "",
    container: Annotated[str, typer.Option("--container", "-c", help="Container of the pod.")] = "",
) -> None:
    """Print the output of a pod or of one of the lab's processes.

    Without a name: lists the lab's own processes.

    \b
    Example: netlab logs agent-node1
    Example: netlab logs blue-5d8c-x7k2p
    """
    from netlab.lab.find import lab_named
    from netlab.lab.logs import log_names, read_log

    state = lab_named(lab)
    if not target:
        print("\n".join(log_names(state)))
        return
    sys.stdout.write(read_log(state, target, container=container))


def next_steps(name: LabArgument = "") -> None:
    """Print five commands to try in the running lab.

    \b
    Example: netlab next
    """
    from netlab.lab.find import lab_named, recorded_labs, require_daemon
    from netlab.lab.next import Words, suggestions
    from netlab.lab.status import status as lab_status

    state = lab_named(name)
    require_daemon(state)
    words = Words(program(), state.lab if len(recorded_labs()) > 1 else "")
    print("Try next:")
    for command, why in suggestions(lab_status(state), words):
        print(f"\n  # {why}\n  {command}")
