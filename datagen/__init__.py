"""PartDrag-4D: from PartNet-Mobility objects to HDF5 shards.

Nothing here imports torch or bpy. `shards`, `cameras`, `drags` and `articulation` are light enough
for a training machine that has neither Blender nor pybullet.
"""
