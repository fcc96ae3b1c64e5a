#!/usr/bin/python3
"""Simulates a Kubernetes API server and STS, each over TLS, with a control endpoint for tests. See README.md."""

import argparse
import asyncio
import ctypes
import json
import logging
import os
import signal
import sys

from aiohttp import web

import control
from aws import Account
from faults import Faults
from journal import Journal
from kube import Kube
from listeners import Listener
from pki import Authority, ServerCertificates, write_atomically
from sts import Sts
from world import World

PR_SET_PDEATHSIG = 1
PERSON = ("access_key_id", "secret_access_key")  # what the platform engineer knows


def die_with_parent():
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", required=True, help="where certificates, the daemon's token and ready.json go")
    parser.add_argument("--kube-port", type=int, default=0)
    parser.add_argument("--sts-port", type=int, default=0)
    parser.add_argument("--sts-address", help="where STS listens instead of loopback: for who is on another network")
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--aws-listen", metavar="ADDRESS:PORT",
                        help="the whole AWS account there, each service by its own host name: IAM, S3, STS, ...")
    parser.add_argument("--scenario", help="JSON file: settings, service_accounts, roles, pods, bulk, faults")
    return parser.parse_args()


async def run(options):
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    scenario = {}
    if options.scenario:
        with open(options.scenario, encoding="utf-8") as file:
            scenario = json.load(file)
    directory = os.path.abspath(options.dir)
    os.makedirs(directory, exist_ok=True)

    world, faults, journal = World(scenario.get("settings")), Faults(), Journal()
    world.create_pod(world.daemon_namespace, world.daemon_account, world.daemon_account, ip="10.0.0.1",
                     host_network=True)
    kube, sts = Kube(world, faults, journal), Sts(world, faults, journal)
    authorities = {"kube": Authority("kubernetes"), "sts": Authority("Simulated Amazon Root CA 1")}
    names = {"kube": ["localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default.svc"],
             "sts": ["localhost", "127.0.0.1", "::1", f"sts.{world.region}.amazonaws.com", "sts.amazonaws.com"]}
    ports = {"kube": options.kube_port, "sts": options.sts_port}
    addresses = {"kube": None, "sts": options.sts_address}
    listeners = {}
    for name, handler in (("kube", kube.handle), ("sts", sts.handle)):
        address = addresses[name]
        certificates = ServerCertificates(directory, name, authorities[name], names[name] + ([address] if address else []))
        listeners[name] = Listener(handler, certificates, ports[name], address)
        await listeners[name].start()
    sts_ca = os.path.join(directory, "sts-ca.crt")
    write_atomically(sts_ca, authorities["sts"].pem)
    files = control.DaemonFiles(os.path.join(directory, "serviceaccount"), world, authorities["kube"].pem)
    files.set_token("fresh")

    person = {}
    if options.aws_listen:
        account = Account(world, sts, sts_ca)
        address, port = options.aws_listen.rsplit(":", 1)
        certificates = ServerCertificates(directory, "aws", authorities["sts"], account.names())
        aws = Listener(account.handle, certificates, int(port), address)
        await aws.start()
        person = {"aws_port": aws.port, "person": {name: account.person[name] for name in PERSON}}

    controller = control.Control(world, faults, journal, listeners, kube, files)
    control.load_scenario(controller, scenario)
    runner = web.AppRunner(controller.application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", options.control_port, backlog=1024)
    await site.start()
    control_port = runner.addresses[0][1]

    write_atomically(os.path.join(directory, "ready.json"), json.dumps({
        "kube_url": f"https://127.0.0.1:{listeners['kube'].port}",
        "sts_url": f"https://{options.sts_address or 'localhost'}:{listeners['sts'].port}",
        "control_url": f"http://127.0.0.1:{control_port}",
        "ca_file": os.path.join(files.directory, "ca.crt"), "sts_ca_file": sts_ca,
        "token_file": os.path.join(files.directory, "token"),
        "issuer": world.issuer, "node_name": world.node_name, "region": world.region, **person}, indent=1) + "\n")
    await stop.wait()
    for listener in [*listeners.values(), *([aws] if options.aws_listen else [])]:
        await listener.stop()
    await runner.cleanup()


if __name__ == "__main__":
    die_with_parent()
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(run(arguments()))
