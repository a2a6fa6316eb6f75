"""drscale measures how the effectiveness and the robustness of dense retrievers scale, and says what to buy next.

Texts become batches, batches train an encoder, a run record keeps what was measured, a table of records becomes a law,
and a law becomes a figure or a plan. ``drscale.runs``, ``drscale.analysis`` and ``drscale.show`` never import torch.
"""

__version__ = "0.1.0"
