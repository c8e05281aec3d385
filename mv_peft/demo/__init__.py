"""The main job, from files: a rendered world of captioned clips, a tiny CLIP, and MV-Adapter trained in minutes."""
