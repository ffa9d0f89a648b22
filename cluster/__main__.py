"""A cluster of virtual hosts for people: `python -m cluster up --hosts 3` (or `make cluster HOSTS=3`), as root.

It stays until Ctrl-C and then ends everything it started; the other verbs are for another shell meanwhile.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

from cluster.virtual import namespaces
from cluster.virtual.hosts import NoVirtualHosts, VirtualHost, add_host, end_cluster, find_hosts, virtual_hosts

GUIDE = """\
{count} hosts, one Ray cluster of {cpus} CPU each; dashboard and job API: {dashboard}
The dashboard asks for the token in {token}. Ctrl-C ends all of it.

In another shell, in the same folder:
  token and address      eval "$({cluster} env{name})"
  submit a job           ray job submit --working-dir . -- python -m launcher train CONFIG run.dir=/FOLDER {two}
  the same, shorter      jpo submit CONFIG run.dir=/FOLDER {two}
  enter a host           {cluster} enter{name} h1
  its processes          {cluster} pids{name} h1
  cut its link           {cluster} cut{name} h1
  slow its link          {cluster} slow{name} h1 10mbit
  link as it was         {cluster} restore{name} h1
  kill a host            {cluster} kill{name} h1
  start it again         {cluster} restart{name} h1
  add a host             {cluster} add{name}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.do(options) or 0)
    except (NoVirtualHosts, LookupError, RuntimeError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    parser.set_defaults(cpus=1)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(
        name: str, do: Callable[[argparse.Namespace], int | None], about: str, *, host: bool = True
    ) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=about, description=about)
        sub.set_defaults(do=do)
        sub.add_argument("--name", default=os.environ.get("JPO_HOSTS", "hosts"), help="of the cluster (JPO_HOSTS)")
        if host:
            sub.add_argument("host", help="h0, h1, ...; h0 is the head")
        return sub

    up = verb("up", _up, "make hosts, join them, and hold them until Ctrl-C", host=False)
    up.add_argument("--hosts", type=int, default=2)
    up.add_argument("--cpus", type=int, default=1, help="CPUs of each, in Ray's books")
    verb("env", _env, "print what a shell needs to reach the cluster: token and address", host=False)
    enter = verb("enter", _enter, "a shell, or a command, on a host")
    enter.add_argument("command", nargs=argparse.REMAINDER)
    verb("pids", lambda o: _say(*map(str, _host(o).pids())), "process ids of a host")
    verb("cut", lambda o: _host(o).set_link(False), "pull a host's cable")
    slow = verb("slow", lambda o: _host(o).limit_link(o.rate), "limit a host's link, each way")
    slow.add_argument("rate", help="as tc writes it: 10mbit, 500kbit")
    verb("restore", _restore, "plug the cable in, at full speed")
    verb("kill", lambda o: _host(o).kill(), "SIGKILL to every process of a host")
    verb("restart", lambda o: _host(o).restart(o.cpus), "kill a host and start its Ray node again")
    add = verb("add", lambda o: _say(add_host(find_hosts(o.name), o.cpus).name), "one more host", host=False)
    add.add_argument("--cpus", type=int, default=1)
    verb("end", lambda o: end_cluster(o.name), "end a cluster whose holder was killed", host=False)
    return parser


def _up(options: argparse.Namespace) -> None:
    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # a closed terminal ends the hosts too
    for number in ends:
        signal.signal(number, stop)
    try:
        with virtual_hosts(options.hosts, options.cpus, name=options.name, reachable=True) as hosts:
            name = "" if options.name == "hosts" else f" --name {options.name}"
            head = hosts[0]
            _say(
                GUIDE.format(
                    count=len(hosts), cpus=options.cpus, dashboard=head.dashboard_address, token=head.token_file,
                    cluster="python -m cluster", name=name,
                    two=f"cluster.workers={len(hosts)} cluster.placement=STRICT_SPREAD",
                )
            )  # fmt: skip
            try:
                while True:
                    signal.pause()
            except KeyboardInterrupt:
                for number in ends:  # a second Ctrl-C must not leave a half of them
                    signal.signal(number, signal.SIG_IGN)
                _say("ending the hosts")
    except KeyboardInterrupt:  # while they were being made: they are gone again
        _say("ended before all hosts were up")


def _env(options: argparse.Namespace) -> None:
    head = find_hosts(options.name)[0]
    _say(
        "export RAY_AUTH_MODE=token",
        f"export RAY_AUTH_TOKEN_PATH={shlex.quote(str(head.token_file))}",
        f"export RAY_API_SERVER_ADDRESS={head.dashboard_address}",
    )


def _enter(options: argparse.Namespace) -> int:
    host = _host(options)
    command = options.command or [os.environ.get("SHELL", "bash")]
    return subprocess.run([*namespaces.inside(host.name), *command], env=host.environment(), check=False).returncode


def _restore(options: argparse.Namespace) -> None:
    host = _host(options)
    host.set_link(True)
    host.limit_link(None)


def _host(options: argparse.Namespace) -> VirtualHost:
    hosts = {host.name.rpartition("-")[2]: host for host in find_hosts(options.name)}
    if options.host not in hosts:
        raise LookupError(f"host ({options.host}) must be one of {', '.join(hosts)}")
    return hosts[options.host]


def _say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
