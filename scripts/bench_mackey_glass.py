"""How well an LSTM and an echo state network go on with the Mackey-Glass series of data=mackey_glass.

python scripts/bench_mackey_glass.py                 all 30 stretches: minutes for the LSTM, seconds for the other
python scripts/bench_mackey_glass.py --offsets 0,15

Both follow NeuroBench's protocol (Yik et al., Nature Communications 16, 2025): a model of its own for each of 30
stretches learns 750 points, the first 45 of which only warm it up, and predicts the 750 after them from its own
predictions; the seed of a stretch is its number. They are written here in torch from their descriptions, with the
published sizes: the echo state network of 355 tanh units (spectral radius 1.23, connected with probability 0.15,
leakage 0.51, inputs scaled by 0.8 and the bias by 0.9, ridge 1e-9), and an LSTM of 100 units over the last 50 points,
trained for 300 steps of Adam. The series is that of snntrain, so the figures beside those that NeuroBench publishes,
14.8 and 13.4, are of another series.
"""

import argparse

import benchmark
import torch
from benchmark import console
from torch import Tensor, nn
from torch.nn import functional as F

from snntrain import terminal
from snntrain.data.mackey_glass import LEARNED, OFFSETS, POINTS, PREDICTED, mackey_glass

WARM_UP = 45
UNITS, RADIUS, DENSITY, LEAKAGE, RIDGE = 355, 1.23, 0.15, 0.51, 1e-9
BIAS_SCALE, INPUT_SCALE = 0.9, 0.8
HIDDEN, WINDOW, STEPS, RATE = 100, 50, 300, 0.01


def smape(predicted: Tensor, target: Tensor) -> float:
    """The mean of 200·|p − t|/(|p| + |t|)."""
    return float(200 * ((predicted - target).abs() / (predicted.abs() + target.abs())).mean())


def echo_state_network(points: Tensor, seed: int) -> Tensor:
    """The 750 points after 751 learned ones, by a fixed recurrent net with a ridge regression on its states."""
    source = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=source, dtype=torch.float64)

    into = (uniform(UNITS, 2) - 0.5) * torch.tensor([BIAS_SCALE, INPUT_SCALE], dtype=torch.float64)
    weights = torch.randn(UNITS, UNITS, generator=source, dtype=torch.float64) * (uniform(UNITS, UNITS) <= DENSITY)
    weights *= RADIUS / torch.linalg.eigvals(weights).abs().max()
    state, one = torch.zeros(UNITS, dtype=torch.float64), torch.ones(1, dtype=torch.float64)

    def step(x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        inputs = torch.cat([one, x.view(1)])
        state = (1 - LEAKAGE) * state + LEAKAGE * torch.tanh(weights @ state + into @ inputs)
        return torch.cat([inputs, state]), state

    seen = []
    for x in points[:LEARNED]:
        features, state = step(x, state)
        seen.append(features)
    states, targets = torch.stack(seen[WARM_UP:]), points[WARM_UP + 1 : LEARNED + 1]
    square = states.T @ states + RIDGE * torch.eye(states.shape[1], dtype=torch.float64)
    out = torch.linalg.lstsq(square, states.T @ targets, driver="gelsd").solution
    x, found = points[LEARNED], []
    for _ in range(PREDICTED):
        features, state = step(x, state)
        x = features @ out
        found.append(x)
    return torch.stack(found)


class LSTM(nn.Module):
    """An LSTM over time of the last WINDOW points, normalized at each step, and a linear layer of its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WINDOW)
        self.rnn = nn.LSTM(WINDOW, HIDDEN)
        self.out = nn.Linear(HIDDEN, 1)

    def forward(self, windows: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple]:
        hidden, state = self.rnn(self.norm(windows), state)
        return self.out(F.relu(hidden)), state


def lstm(points: Tensor, seed: int) -> Tensor:
    """The 750 points after 751 learned ones, by an LSTM that is trained on all learned steps at once."""
    torch.manual_seed(seed)
    model = LSTM().double()
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    padded = F.pad(points, (WINDOW - 1, 0))  # before the first point there are zeros
    windows, targets = padded.unfold(0, WINDOW, 1)[:LEARNED, None], points[1 : LEARNED + 1, None, None]
    for _ in range(STEPS):
        loss = F.mse_loss(model(windows)[0][WARM_UP:], targets[WARM_UP:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        _, state = model(windows)
        window, found = padded[LEARNED : LEARNED + WINDOW], []
        for _ in range(PREDICTED):
            predicted, state = model(window.view(1, 1, -1), state)
            found.append(predicted.flatten())
            window = torch.cat([window[1:], found[-1]])
    return torch.cat(found)


MODELS = {"echo state network": echo_state_network, "LSTM": lstm}


def _offsets(text: str) -> list[int]:
    offsets = [int(part) for part in text.split(",")]
    if any(not 0 <= offset < OFFSETS for offset in offsets):
        raise argparse.ArgumentTypeError(f"offsets are from 0 to {OFFSETS - 1}, got {text}")
    return offsets


def main() -> None:
    """Train, predict, show, write."""
    parser = benchmark.parser(__doc__)
    parser.add_argument("--offsets", type=_offsets, default=list(range(OFFSETS)), help="stretches, all by default")
    options = parser.parse_args()
    run = benchmark.begin(options)
    series = mackey_glass((OFFSETS - 1) * POINTS // 2 + LEARNED + PREDICTED + 1)
    found: dict[str, list[float]] = {name: [] for name in MODELS}
    for offset in options.offsets:
        points = series[offset * POINTS // 2 :][: LEARNED + PREDICTED + 1]
        for name, model in MODELS.items():
            found[name].append(smape(model(points, offset).detach(), points[LEARNED + 1 :]))
        console.print(f"stretch {offset}: " + ", ".join(f"{name} {values[-1]:.2f}" for name, values in found.items()))
    table = terminal.table("model", "stretches", "sMAPE, mean", "std", texts=1)
    for name, values in found.items():
        of_all = torch.tensor(values)
        table.add_row(name, str(len(values)), f"{of_all.mean():.2f}", f"{of_all.std():.2f}" if len(values) > 1 else "")
    console.print(table)
    benchmark.finish(options, "mackey_glass", run, {"offsets": options.offsets, "smape": found})


if __name__ == "__main__":
    main()
