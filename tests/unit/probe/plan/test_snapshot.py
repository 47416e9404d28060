"""What the tester derives from the API's objects: endpoints of a Service, each once."""

from __future__ import annotations

import pytest

from netlab.probe.plan import fake
from netlab.probe.plan.expectation import Access, Entry, usable
from netlab.probe.plan.plan import plan


def with_slices(*slices):
    named = [{**s, "metadata": {**s["metadata"], "name": f"blue-{n}"}} for n, s in enumerate(slices)]
    return fake.snapshot(fake.cluster(services=[fake.service("blue", clusterIP="10.96.0.20")], slices=named))


@pytest.mark.parametrize(
    ("first", "second", "best"),
    [("!", "", (True, True)), ("", "!", (True, True)), ("!", "~", (False, True)), ("~", "!", (False, True))],
)
def test_endpoint_in_two_slices_counts_in_its_better_state(first, second, best):
    """As the proxy merges them (semantics 5.10): ready, else serving while terminating, else the other."""
    snapshot = with_slices(*(fake.endpoints("blue", [f"{mark}10.244.1.2"]) for mark in (first, second)))
    service = snapshot.services[0]

    (backend,) = snapshot.backends(service, service.spec.ports[0])

    assert best == (backend.endpoint.conditions.is_ready, backend.endpoint.conditions.is_serving)
    access = Access(snapshot.node_places[0], service, service.spec.ports[0], Entry.CLUSTER_IP, service.spec.cluster_ip)
    assert usable(snapshot, access, "node1", local=False)


class CountingSlices(tuple):
    """A tuple that counts how often it is walked through."""

    __slots__ = ()
    walks = 0

    def __iter__(self):
        CountingSlices.walks += 1
        return super().__iter__()


def test_plan_walks_through_the_slices_a_fixed_number_of_times():
    """The cost of a plan follows its checks, not checks times slices."""
    walks = []
    for count in (3, 12):
        services = [fake.service(f"s{n}", clusterIP=f"10.96.0.{20 + n}") for n in range(count)]
        slices = [fake.endpoints(f"s{n}", ["10.244.1.2", "10.244.2.2"]) for n in range(count)]
        snapshot = fake.snapshot(fake.cluster(services=services, slices=slices))
        object.__setattr__(snapshot, "slices", CountingSlices(snapshot.slices))
        CountingSlices.walks = 0
        plan(snapshot)
        walks.append(CountingSlices.walks)

    assert walks[0] == walks[1]
