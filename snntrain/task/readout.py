"""From the output over time to one score per class."""

from torch import Tensor

from snntrain.neuron import NonSpikingLIFNode

READOUTS = ("rate", "membrane", "last", "max")


def read_out(y_seq: Tensor, readout: str, tau: float = 2.0) -> Tensor:
    """Scores of a sequence of outputs.

    Args:
        y_seq: outputs [T, N, K]: spikes, or the currents of a last layer without neuron.
        readout: 'rate': mean over T, the firing rate if the outputs are spikes.
            'membrane': potential at the last step of a leaky integrator that never fires, v' = v + (y − v)/tau from v
                = 0.
            'last': the output of the last step. 'max': the largest output over T.
        tau: time constant of that integrator in time steps, > 1.

    Returns: [N, K].
    Source: Eshraghian et al., Proc. IEEE 2023 (survey of readouts and losses).
    """
    if readout == "rate":
        return y_seq.mean(0)
    if readout == "membrane":
        return NonSpikingLIFNode(tau, decode="last-mem")(y_seq)
    if readout == "last":
        return y_seq[-1]
    return y_seq.amax(0)
