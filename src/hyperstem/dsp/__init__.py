"""Signal processing that training and separation share, in numpy: resampling, levels, segments, sums of stems."""
