"""What training and separation share of signal processing, in numpy: rates and levels, segments, sums of stems."""
