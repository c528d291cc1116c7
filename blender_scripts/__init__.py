"""The only code that imports bpy; it runs inside headless Blender and needs nothing but numpy."""
