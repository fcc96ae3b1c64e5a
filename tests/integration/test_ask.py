"""`credlet ask` is the pod of `helm test`: it asks as an SDK would, and says whether the daemon knows who asks."""

import concurrent.futures
import os
import subprocess

import pytest

from daemon import BINARY
from simulator import wait_until


@pytest.fixture
def ask(tmp_path):
    """From an address that is no pod's, so that the token alone says who asks."""
    def run(*flags, uri=None, token=None):
        environment = {"PATH": os.environ["PATH"]}
        if uri:
            environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = uri
        if token:
            file = tmp_path / "token"
            file.write_text(token)
            environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = str(file)
        return subprocess.run([BINARY, "ask", *flags], env=environment, capture_output=True, text=True, timeout=60,
                              check=False)
    return run


def uri_of(daemon):
    host, port = daemon.address
    return f"http://{host}:{port}/v1/credentials"


def test_credentials_are_told_without_their_secrets(world, credlet, new_pod, ask):
    pod = new_pod()
    done = ask(uri=uri_of(credlet), token=world.mint(pod=f"prod/{pod['name']}"))
    assert done.returncode == 0, done
    assert done.stdout.startswith(f"credentials of {pod['role_arn']} until 20")
    issued = world.issued(secrets=True)
    secrets = [one[name] for one in issued for name in ("secret_access_key", "session_token")]
    assert secrets and not [s for s in secrets if s in done.stdout + done.stderr]


def test_a_pod_without_a_role_is_known_all_the_same(world, credlet, address, ask):
    world.service_account("prod", "without-role")
    world.pod("prod", "without-role-pod", service_account="without-role", ip=address)
    token = world.mint(pod="prod/without-role-pod")
    known = ask("--expect", "identity", uri=uri_of(credlet), token=token)
    assert (known.returncode, known.stdout.split(":")[0]) == (0, "403 NoRoleAssociated")
    assert ask("--expect", "credentials", uri=uri_of(credlet), token=token).returncode == 1


def test_who_is_not_known_is_told_so(credlet, ask):
    done = ask("--expect", "identity", uri=uri_of(credlet))
    assert done.returncode == 1 and done.stdout.startswith("403 AccessDenied: "), done


def test_it_asks_again_while_the_daemon_cannot_answer(world, credlet, new_pod, ask):
    world.fault("sts", "status", status=503)
    pod = new_pod()
    unanswered = credlet.metric("requests_total", protocol="ecs", code="503")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, uri=uri_of(credlet), token=world.mint(pod=f"prod/{pod['name']}"))
        wait_until(lambda: credlet.metric("requests_total", protocol="ecs", code="503") > unanswered, 20, "a 503")
        world.clear()
        done = asking.result()
    assert done.returncode == 0, done


def test_nobody_there_and_nothing_to_ask_are_exit_code_2(ask):
    done = ask("--for", "0s", uri="http://127.0.0.1:1/v1/credentials")
    assert done.returncode == 2 and "no answer from 127.0.0.1:1" in done.stderr
    done = ask("--for", "0s")
    assert done.returncode == 2 and "AWS_CONTAINER_CREDENTIALS_FULL_URI" in done.stderr
    done = ask("--for", "0s", uri="http://credlet/v1/credentials")
    assert done.returncode == 2 and "must be http://ADDRESS" in done.stderr
