"""Tests of measurements on data sets."""
