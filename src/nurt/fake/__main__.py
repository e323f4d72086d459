"""Run a fake receiver: `python -m nurt.fake KIND --port 8300`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from nurt.fake.dataverse import FakeDataverse
from nurt.fake.hubspot import FakeHubspot
from nurt.fake.mailchimp import FakeMailchimp
from nurt.fake.marketing_cloud import FakeMarketingCloud
from nurt.fake.salesforce import FakeSalesforce
from nurt.fake.server import Fake, running
from nurt.fake.webhook import FakeWebhook

FAKES: dict[str, Callable[[], Fake]] = {
    "dataverse": FakeDataverse,
    "hubspot": FakeHubspot,
    "mailchimp": FakeMailchimp,
    "marketing_cloud": FakeMarketingCloud,
    "salesforce": FakeSalesforce,
    "webhook": FakeWebhook,
}


def main() -> None:
    """Serve until Ctrl-C, and print every few seconds how many calls came."""
    parser = argparse.ArgumentParser(prog="python -m nurt.fake", description="A receiver to rehearse deliveries with.")
    parser.add_argument("kind", choices=sorted(FAKES))
    parser.add_argument("--port", type=int, default=8300)
    parser.add_argument("--latency-ms", type=float, default=0.0, help="how long every answer takes")
    parser.add_argument("--error-rate", type=float, default=0.0, help="share of calls answered by 5xx")
    parser.add_argument("--throttle-rate", type=float, default=0.0, help="share of calls answered by 429")
    parser.add_argument("--drop-rate", type=float, default=0.0, help="share of calls whose answer is cut in the middle")
    parser.add_argument("--drip-ms", type=float, default=0.0, help="pause between two bytes of an answer")
    request = parser.parse_args()
    fake = FAKES[request.kind]()
    fake.faults.latency_s = request.latency_ms / 1000
    fake.faults.cut_after, fake.faults.drip_s = request.drop_rate, request.drip_ms / 1000
    fake.faults.error_rate, fake.faults.throttle_rate = request.error_rate, request.throttle_rate
    with running(fake, request.port):
        print(f"{request.kind} answers at {fake.url}; Ctrl-C ends it", flush=True)
        try:
            while True:
                time.sleep(5)
                print(f"{len(fake.calls)} calls, {fake.throttled} throttled", flush=True)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
