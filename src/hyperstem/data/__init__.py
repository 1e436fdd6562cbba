"""Training data: find recordings, decode them once, and draw batches of mixtures from them.

Only `hyperstem.data.dataset` needs torch.
"""
