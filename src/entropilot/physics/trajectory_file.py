"""Trajectories as files that xarray opens: NetCDF4 with names and units by the CF conventions.

A file is written whole or not at all; a Zarr store is a folder and is renamed when it is whole.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot import __version__
from entropilot.errors import InputError, require
from entropilot.files import replacing
from entropilot.physics.process import Attributes, Process

if TYPE_CHECKING:
    import xarray as xr

FORMATS: Final = (".nc", ".zarr")
Block = Mapping[str, NDArray[Any]]  # every variable with a leading axis of frames


def write_trajectory(path: str | Path, process: Process, blocks: Iterable[Block]) -> Path:
    """Write a trajectory block by block; only one block is in memory.

    Args:
        path: ``.nc`` for NetCDF4 (compressed), ``.zarr`` for a Zarr store.
        process: names, units, sizes and parameters.
        blocks: frames in order; every variable of the process and ``time``.

    Raises:
        InputError: another ending.
        MissingExtraError: netCDF4, or xarray and zarr, are not installed.

    Examples:
        >>> import tempfile
        >>> from entropilot.physics.process import Variable
        >>> p = Process("walk", 2, {}, (Variable("x", (), "m", "place"),),
        ...     start=dict, advance=dict, observe=dict)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = write_trajectory(f"{folder}/walk.nc", p,
        ...         [{"time": np.array([0.0, 1.0]), "x": np.array([0.0, 2.0])}])
        ...     float(read_trajectory(file)["x"][1])
        2.0
    """
    path = Path(path)
    if path.suffix == ".nc":
        return _write_netcdf(path, process, blocks)
    if path.suffix == ".zarr":
        return _write_zarr(path, process, blocks)
    raise InputError(f"{path.name} ends in {path.suffix!r}, expected one of {', '.join(FORMATS)}")


def read_trajectory(path: str | Path) -> xr.Dataset:
    """Open a trajectory with xarray, lazily where it is a Zarr store.

    Raises:
        InputError: the file is not there or is no trajectory.
        MissingExtraError: xarray is not installed.
    """
    path = Path(path)
    xarray = require("xarray", extra="physics", purpose="reading a trajectory")
    if not path.exists():
        raise InputError(f"no trajectory at {path}")
    try:
        if path.suffix == ".zarr":
            return xarray.open_zarr(path, consolidated=False, decode_times=False)
        with xarray.open_dataset(path, engine="netcdf4", decode_times=False) as opened:
            return opened.load()
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is not a trajectory that xarray can open ({error})") from error


def _attributes(process: Process) -> dict[str, str | int | float]:
    return {
        "Conventions": "CF-1.8",
        "title": process.title,
        "source": f"entropilot {__version__}",
        **process.parameters,
    }


def _kept(
    process: Process, blocks: Iterable[Block], series: dict[str, list[NDArray[Any]]]
) -> Iterator[Block]:
    """The blocks as they come; what has one number a frame is kept for the summary."""
    names = ["time", *(v.name for v in process.variables if not v.dims)]
    for block in blocks:
        for name in names:
            series.setdefault(name, []).append(np.asarray(block[name]))
        yield block


def _summary(process: Process, series: Mapping[str, list[NDArray[Any]]]) -> Attributes:
    if process.summarise is None or not series:
        return {}
    return process.summarise({name: np.concatenate(parts) for name, parts in series.items()})


def _write_netcdf(path: Path, process: Process, blocks: Iterable[Block]) -> Path:
    netcdf = require("netCDF4", extra="physics", purpose="writing NetCDF")
    with replacing(path) as temporary:
        temporary.unlink()  # the library makes its own file
        with netcdf.Dataset(temporary, "w", format="NETCDF4") as file:
            file.setncatts(_attributes(process))
            file.createDimension("time", None)
            for name, size in process.sizes.items():
                file.createDimension(name, size)
                values = np.asarray(process.coordinates.get(name, np.arange(size)))
                file.createVariable(name, values.dtype, (name,))[:] = values
            time = file.createVariable("time", "f8", ("time",))
            time.setncatts({"units": process.time_units, "long_name": "time", "axis": "T"})
            made = {
                v.name: file.createVariable(
                    v.name, v.dtype, ("time", *v.dims), compression="zlib", complevel=1
                )
                for v in process.variables
            }
            for v in process.variables:
                made[v.name].setncatts({"units": v.units, "long_name": v.long_name})
                if v.valid_range is not None:
                    made[v.name].valid_range = np.asarray(v.valid_range, dtype=v.dtype)
            done, series = 0, dict[str, list[NDArray[Any]]]()
            for block in _kept(process, blocks, series):
                after = done + len(block["time"])
                time[done:after] = block["time"]
                for name, variable in made.items():
                    variable[done:after] = block[name]
                done = after
            file.setncatts(dict(_summary(process, series)))
    return path


def _write_zarr(path: Path, process: Process, blocks: Iterable[Block]) -> Path:
    xarray = require("xarray", extra="physics", purpose="writing Zarr")
    zarr = require("zarr", extra="physics", purpose="writing Zarr")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    try:
        series: dict[str, list[NDArray[Any]]] = {}
        for number, block in enumerate(_kept(process, blocks, series)):
            part = xarray.Dataset(
                {
                    v.name: (
                        ("time", *v.dims),
                        np.asarray(block[v.name], dtype=v.dtype),
                        {"units": v.units, "long_name": v.long_name}
                        | ({"valid_range": list(v.valid_range)} if v.valid_range else {}),
                    )
                    for v in process.variables
                },
                coords={
                    "time": (
                        "time",
                        np.asarray(block["time"], dtype=float),
                        {"units": process.time_units, "long_name": "time", "axis": "T"},
                    ),
                    **{
                        name: np.asarray(process.coordinates.get(name, np.arange(size)))
                        for name, size in process.sizes.items()
                    },
                },
                attrs=_attributes(process),
            )
            if number == 0:
                part.to_zarr(temporary, mode="w", consolidated=False)
            else:
                part.to_zarr(temporary, append_dim="time", consolidated=False)
        if series:
            zarr.open_group(temporary, mode="a").attrs.update(dict(_summary(process, series)))
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
        path.chmod(0o755)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path
