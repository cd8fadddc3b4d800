"""The array of a configuration, whichever its dataflow."""

from hw.systolic.config import ArrayConfig
from hw.systolic.output_stationary import OutputStationaryArray
from hw.systolic.weight_stationary import WeightStationaryArray

__all__ = ["systolic_array"]

_ARRAYS = {"ws": WeightStationaryArray, "os": OutputStationaryArray}


def systolic_array(config: ArrayConfig):
    """The component that ``config`` describes."""
    return _ARRAYS[config.dataflow](config)
