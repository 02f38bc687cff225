"""Checks an output folder before anything is loaded: whether a run may begin there, or be resumed with a recipe."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from diffalign.errors import RunError
from diffalign.files.folder_lock import in_use, is_locked
from diffalign.printable import shown
from diffalign.training.recipe.schema import Recipe
from diffalign.training.storage.checkpoint_folder import complete_checkpoints
from diffalign.training.storage.run_folder import RunFolder, last_step
from diffalign.training.storage.stored_recipe import differences, dump, read_stored_recipe


def check_output(output: RunFolder, recipe: Recipe, resume: bool, check_only: bool = False) -> str:
    """Raises RunError where the folder cannot be written, holds another run or files of others, or nothing to resume.

    Writes nothing. With ``check_only`` a run that the folder holds is no error, as nothing begins there: returns what
    to know about it, otherwise "".
    """
    check_writable(output.folder)
    if resume:
        _check_resume(output, recipe)
    elif is_locked(output.folder) and not check_only:
        raise RunError(in_use(output.folder))
    elif output.is_claimed:
        reached = f"up to step {last_step(output)}" if output.own_checkpoints() else "without a checkpoint so far"
        named = output.folder if output.folder.name else output.folder.resolve()
        message = (
            f"'{output.folder}' already holds a run ({reached}). To continue it, type --resume; for a new run choose "
            f"another folder: --set output={named}-2"
        )
        if check_only:
            return message
        raise RunError(message)
    elif foreign := output.foreign_files():
        raise RunError(
            f"'{output.folder}' holds {', '.join(foreign)}, which are of no run that it names and which a run would "
            f"overwrite. Choose another folder: --set output={output.folder / 'run'}"
        )
    return ""


def check_writable(folder: Path) -> None:
    """Raises RunError where a folder cannot be made or written into."""
    try:
        os.lstat(folder)
    except (ValueError, OSError) as error:
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            reason = "contains a null character" if isinstance(error, ValueError) else "is too long"
            raise RunError(
                f"the output '{shown(str(folder))[1:-1]}' {reason}, so no folder can have that name. Choose another: "
                "--set output=FOLDER"
            ) from None
    place = folder
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise RunError(
            f"the output '{folder}' needs a folder, but '{place}' is none. Choose another: --set output=FOLDER"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise RunError(
            f"the output '{folder}' cannot be written: '{place}' is read-only. Choose another: --set output=FOLDER"
        )


def _check_resume(output: RunFolder, recipe: Recipe) -> None:
    if not output.recipe.exists():
        raise RunError(f"there is no run in '{output.folder}' to resume. Start it without --resume.")
    found = differences(read_stored_recipe(output.recipe), dump(recipe))
    if found:
        raise RunError(
            f"'{output.folder}' holds a run with other settings: {'; '.join(found)}. A resumed run continues "
            "exactly, so resume with the old values, or start a new run in another folder with --set output=FOLDER."
        )
    own = output.own_checkpoints()
    if not own and complete_checkpoints(output.checkpoints):
        raise RunError(
            f"the checkpoints in '{output.checkpoints}' are of another run than '{output.marker}' names. Put back the "
            "folder as one run left it, or start a new run in another folder: --set output=FOLDER"
        )
    done = last_step(output)
    if recipe.train.steps < done:
        raise RunError(
            f"'{output.folder}' has done {done} steps already, and the recipe has {recipe.train.steps}: none can be "
            f"taken back. Type: --set train.steps={done}, or start a new run in another folder: --set output=FOLDER"
        )
