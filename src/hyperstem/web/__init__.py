"""The studio: a local web page and job API around a separator; the extra ``web`` brings what it needs."""
