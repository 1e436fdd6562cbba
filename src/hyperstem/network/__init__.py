"""The networks: Meta-TasNet, which is the paper's, and Meta-U-Net.

    Samuel, Ganeshan, Naradowsky, "Meta-learning Extractors for Music Source Separation", ICASSP 2020 (arXiv 2002.07016)

=======================================  ==================================================  ==========================
the paper                                here                                                from, to
=======================================  ==================================================  ==========================
2.1  theta_k = W_k P_k e_i               `generator.Generated`                               embedding, weights
2.1  masking network (Conv-TasNet II-C)  `masking.Masking`, made of `masking.Block`          latent, a mask per stem
2.1  its layers, with weights per stem   `layers.StemConv`, `StemDilatedConv`, `StemNorm`
2.2  encoder, filters of several sizes   `encoder.Encoder`                                   waveform, latent
2.2  spectrogram, the second input      `spectrogram.Spectrogram`                           waveform, features
2.2  decoder                             `decoder.Decoder`                                   latent, waveform
2.3  one stage                           `stage.Stage`                                       waveform, stems
2.3  stages of doubling rate             `meta_tasnet.MetaTasNet`                            pyramid, stems per stage
2.4  SI-SNR (3)                          `training.losses.si_snr`
2.4  dissimilarity (5), similarity (6)   `training.losses.dissimilarity`, `similarity`
2.4  their sum                           `training.losses.Objective`
=======================================  ==================================================  ==========================

The baselines of the paper are settings of the same classes: with ``parameters = "independent"`` each stem has separate
weights (`generator.Independent`), with ``"shared"`` all stems share one extractor with a mask head each. `fast` has two
operations that are faster on a CPU; tests compare them with torch's. Read in this order: meta_tasnet, stage, encoder,
masking, layers, generator. `meta_unet` applies the same idea to time and frequency; its layers are in `unet_layers`.
"""

from hyperstem.network.families import AnyNetwork, build
from hyperstem.network.meta_tasnet import MetaTasNet
from hyperstem.network.meta_unet import MetaUNet
from hyperstem.network.stage import Stage, StageOutput

__all__ = ["AnyNetwork", "MetaTasNet", "MetaUNet", "Stage", "StageOutput", "build"]
