"""What is made of a clip, one file each, and kept: metrics are reckoned from it, several of them from one feature.

A feature's id is its file's name and a variant, as `inception/pytorch_fid`.
"""
