"""Adapters outside this process: conversion from and to the authors' checkpoints."""

from .official import ConversionReport, load_official_checkpoint, official_state_dict

__all__ = ["ConversionReport", "load_official_checkpoint", "official_state_dict"]
