"""Two examples of each command, for its help. Pure."""

from __future__ import annotations

EXAMPLES = {
    "": (
        "loadgen size -m onnx:churn.onnx --rate 200 --slo 'p99<100ms'",
        "loadgen rate --target http://127.0.0.1:8000/predict --rate 100",
    ),
    "size": (
        "loadgen size -m onnx:churn.onnx --rate 200 --slo 'p99<100ms'",
        "loadgen size -m vgg --trace arrivals.txt --slo 'p99<1s' --core-cost 0.04 --within 30m",
    ),
    "saturate": (
        "loadgen saturate -m noop -d 30s",
        "loadgen saturate --target oip+grpc://127.0.0.1:8001/resnet --max-in-flight 64 --fail-if 'p99>300ms'",
    ),
    "rate": (
        "loadgen rate -m noop --rate 500 --arrivals poisson -d 1m",
        "loadgen rate --target http://127.0.0.1:8000/x --body '{\"x\": \"$input\"}' --rate 100 --fail-if 'p99>50ms'",
    ),
    "sweep": (
        "loadgen sweep -m noop -r 1,2,4 -b 1,8 -d 30s",
        "loadgen sweep -m kernel-svm -r 1,2 --rates 100,200 --arrivals poisson --repeat 3 --resume",
    ),
    "capacity": (
        "loadgen capacity -m noop --slo 'p99<50ms,failed<0.1%'",
        "loadgen capacity --target oip+http://127.0.0.1:8000/resnet --slo 'p99<1s' --start 50 --confirm-for 1m",
    ),
    "report": (
        "loadgen report results --html report.html",
        "loadgen report results --rate 100 --slo 'p99<250ms'",
    ),
    "compare": (
        "loadgen compare results/before.json results/after.json",
        "loadgen compare --run old.toml --run new.toml --margin 5% --junit verdicts.xml",
    ),
    "best": (
        "loadgen best results --rate 100 --slo 'p99<250ms'",
        "loadgen best results/sweep-* --rate 6000/m --slo 'p99<250ms,failed<0.1%'",
    ),
    "up": (
        "loadgen up -m noop -r 2",
        "loadgen up -m vgg --runtime process --request-port 0",
    ),
    "down": (
        "loadgen down",
        "loadgen down --all",
    ),
    "ps": (
        "loadgen ps",
        "loadgen ps | grep replica",
    ),
    "logs": (
        "loadgen logs --follow",
        "loadgen logs --role query",
    ),
    "metrics": (
        "loadgen metrics --counters",
        "loadgen metrics --host 10.0.0.7 --credentials credentials.json",
    ),
    "doctor": (
        "loadgen doctor",
        "loadgen doctor | grep -A1 ^--",
    ),
    "models": (
        "loadgen models",
        "loadgen models verify noop",
    ),
    "models verify": (
        "loadgen models verify",
        "loadgen models verify onnx:churn.onnx --timeout 1m",
    ),
    "images": (
        "loadgen images list",
        "loadgen images build noop",
    ),
    "images build": (
        "loadgen images build",
        "loadgen images build vgg inception --gpu",
    ),
    "images list": (
        "loadgen images list",
        "loadgen images list | grep missing",
    ),
    "help": (
        "loadgen help saturate",
        "loadgen help models verify",
    ),
}
"""Examples by the words of a command; of the program itself those of its first two uses."""
