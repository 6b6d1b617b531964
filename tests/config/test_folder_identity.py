"""A model folder is the same model whatever a desktop leaves in it."""

import shutil

from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import _folder_digest, run_id


def test_files_of_file_browsers_make_no_new_run_id(tmp_path):
    def folder(name, **files):
        (tmp_path / name).mkdir()
        for file, text in {"config": "{}", **files}.items():
            (tmp_path / name / f"{file}.json").write_text(text)
        return tmp_path / name

    def id_of(path):
        _folder_digest.cache_clear()
        return run_id(compose([f"model.name_or_path={path}"]))

    plain = folder("plain")
    seen = shutil.copytree(plain, tmp_path / "seen")
    (seen / ".DS_Store").write_text("x")
    (seen / "Thumbs.db").write_text("x")
    assert id_of(plain) == id_of(seen) != id_of(folder("other", vocab="{}"))
