"""The network of the paper, stage by stage.

    Samuel, Ganeshan, Naradowsky, "Meta-learning Extractors for Music Source Separation", ICASSP 2020 (arXiv 2002.07016)

=======================================  ==================================================  ==========================
the paper                                here                                                from, to
=======================================  ==================================================  ==========================
2.1  theta_k = W_k P_k e_i               `generator.Generated`                               embedding, weights
2.1  masking network (Conv-TasNet II-C)  `masking.Masking`, made of `masking.Block`          latent, a mask per stem
2.1  its layers, with weights per stem   `layers.StemConv`, `StemDilatedConv`, `StemNorm`
2.2  encoder, filters of several sizes   `encoder.Encoder`                                   waveform, latent
2.2  spectrogram beside the waveform     `spectrogram.Spectrogram`                           waveform, features
2.2  decoder                             `decoder.Decoder`                                   latent, waveform
2.3  one stage                           `stage.Stage`                                       waveform, stems
2.3  stages of doubling rate             `meta_tasnet.MetaTasNet`                            pyramid, stems per stage
2.4  SI-SNR (3)                          `training.losses.si_snr`
2.4  dissimilarity (5), similarity (6)   `training.losses.dissimilarity`, `similarity`
2.4  their sum                           `training.losses.Objective`
=======================================  ==================================================  ==========================

Its rivals in the paper's comparison are settings of the same classes: ``parameters = "independent"`` gives each stem
weights of its own (`generator.Independent`), ``"shared"`` one extractor with a mask for each stem. `fast` holds two
layers again, faster on a processor; tests prove them equal. Read in this order: meta_tasnet, stage, encoder, masking,
layers, generator. `meta_unet` has the same idea over time and frequency.
"""

from hyperstem.network.families import AnyNetwork, build
from hyperstem.network.meta_tasnet import MetaTasNet
from hyperstem.network.meta_unet import MetaUNet
from hyperstem.network.stage import Stage, StageOutput

__all__ = ["AnyNetwork", "MetaTasNet", "MetaUNet", "Stage", "StageOutput", "build"]
