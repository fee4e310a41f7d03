import json
import os
from pathlib import Path

import pytest

from datamodules.prepare.sources import Source, find_sources
from hallo3_lightning.errors import UsageError


def put(file: Path, content: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
    return file


def by_name(sources: list[Source]) -> dict[str, Source]:
    return {source.name: source for source in sources}


def test_a_folder_of_any_depth_with_captions_beside_the_videos(tmp_path):
    for name in ("b.MP4", "anna/1.mov", "anna/deep/2.webm", ".hidden/3.mp4", "._4.mp4", "notes.txt", "vocals/5.mp4"):
        put(tmp_path / name)
    put(tmp_path / "b.txt", " Äpfel \n")
    put(tmp_path / "anna/deep/2.txt", "two")
    found = find_sources(tmp_path, None, "folder")
    assert [(source.name, source.caption, source.identity) for source in found] == [
        ("anna/1.mov", None, "anna"),
        ("anna/deep/2.webm", "two", "anna"),
        ("b.MP4", "Äpfel", "b"),
    ]
    by_file = find_sources(tmp_path, None, "folder", identity_of="file")
    assert [source.identity for source in by_file] == ["anna/1", "anna/deep/2", "b"]


def test_a_caption_that_is_no_text_is_none(tmp_path):
    put(tmp_path / "a.mp4")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    assert find_sources(tmp_path, None, "folder")[0].caption is None


def test_a_csv_says_which_videos_what_they_show_and_who(tmp_path):
    put(tmp_path / "anna/1.mp4"), put(tmp_path / "2.mp4"), put(tmp_path / "not listed.mp4")
    table = put(
        tmp_path / "list.csv", 'identity,video,caption\nA,anna/1.mp4,"one, two"\n,2.mp4,three\n,gone.mp4,four\n'
    )
    found = find_sources(tmp_path, table, "folder")
    assert [(source.name, source.caption, source.identity) for source in found] == [
        ("2.mp4", "three", "2"),
        ("anna/1.mp4", "one, two", "A"),
        ("gone.mp4", "four", "gone"),
    ]


@pytest.mark.parametrize("name", ["../secret.mp4", "/etc/secret.mp4", "a/../../secret.mp4", "a\\..\\b.mp4", ""])
def test_a_list_cannot_lead_out_of_the_folder(tmp_path, name):
    table = put(tmp_path / "list.csv", f"video,caption\nfine.mp4,x\n{name},y\n")
    with pytest.raises(UsageError, match=r"list.csv, line 3: .* does not stay in the folder of videos"):
        find_sources(tmp_path, table, "folder")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,text\na,b\n", "expected the columns video,caption and perhaps identity, got name, text"),
        ("video,caption\na.mp4,x\na.mp4,y\n", "line 3: a.mp4 is listed a second time"),
        ("video,caption\na.mp4,x\nb.mp4,y,extra,more\n", "line 3: not the 2 columns that the first line names"),
        ("video,caption\na.mp4\n", "line 2: not the 2 columns"),
        ('video,caption\na.mp4,"x\nb.mp4,y\nc.mp4,z\n', "not a csv in UTF-8 .*; a quote may be open"),
        ('video,caption\na.mp4,"x\nb.mp4,"y"\n', "not a csv in UTF-8 .*; a quote may be open"),
        ("video,caption,caption\na.mp4,x,y\n", "got video, caption, caption"),
        ("", "expected the columns video,caption and perhaps identity, got none"),
    ],
)
def test_a_wrong_csv_is_refused(tmp_path, content, message):
    with pytest.raises(UsageError, match=message):
        find_sources(tmp_path, put(tmp_path / "list.csv", content), "folder")


def test_the_published_layout(tmp_path):
    put(tmp_path / "videos/0001.mp4"), put(tmp_path / "videos/0002.mp4")
    put(tmp_path / "caption/0001.txt", "first")
    put(tmp_path / "vocals/0001.wav")
    first, second = find_sources(tmp_path, None, "hallo3")
    assert (first.name, first.caption, first.path) == ("0001.mp4", "first", tmp_path / "videos/0001.mp4")
    assert first.vocals == tmp_path / "vocals/0001.wav"
    assert (second.caption, second.vocals) == (None, None)


def test_the_published_meta_json_is_read_by_names_alone(tmp_path):
    """Its paths are those of another machine, and its pickles are not opened."""
    put(tmp_path / "videos/0001.mp4"), put(tmp_path / "videos/0002.mp4")
    entry = {
        "video_path": "/home/someone/data/videos/0002.mp4",
        "face_mask_union_path": "/home/someone/data/face_mask/0002.png",
        "face_emb_path": "/home/someone/data/face_emb/0002.pt",
        "vocals_emb_base_all": "/home/someone/data/audio_emb/0002.pt",
        "caption": "second",
    }
    meta = put(tmp_path / "meta.json", json.dumps([entry]))
    assert [(source.name, source.caption) for source in find_sources(tmp_path, meta, "hallo3")] == [
        ("0002.mp4", "second")
    ]
    put(meta, json.dumps([{"video_path": "/home/.."}]))
    with pytest.raises(UsageError, match=r"meta.json, entry 0: '..' does not stay"):
        find_sources(tmp_path, meta, "hallo3")
    put(meta, json.dumps({"video_path": "x"}))
    with pytest.raises(UsageError, match="expected a list of objects"):
        find_sources(tmp_path, meta, "hallo3")


def test_separated_vocals_are_found_by_the_separators_names_too(tmp_path):
    put(tmp_path / "anna/a [1].mp4"), put(tmp_path / "anna/b.mp4")
    put(tmp_path / "vocals/anna/a [1]_(Vocals)_Kim_Vocal_2.wav")
    first, second = find_sources(tmp_path, None, "folder")
    assert first.vocals is not None
    assert first.vocals.name == "a [1]_(Vocals)_Kim_Vocal_2.wav"
    assert second.vocals is None


def test_the_state_of_a_video_changes_with_what_it_is_made_of(tmp_path):
    video, text = put(tmp_path / "a.mp4", "film"), put(tmp_path / "a.txt", "one")
    states = [find_sources(tmp_path, None, "folder")[0].state]
    put(text, "two")
    states.append(find_sources(tmp_path, None, "folder")[0].state)
    os.utime(video, ns=(5, 5))
    states.append(find_sources(tmp_path, None, "folder")[0].state)
    put(tmp_path / "vocals/a.wav", "sound")
    states.append(find_sources(tmp_path, None, "folder")[0].state)
    assert len(set(states)) == 4
    assert find_sources(tmp_path, None, "folder")[0].state == states[-1]


def test_a_folder_without_videos_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no videos in"):
        find_sources(tmp_path, None, "folder")
    with pytest.raises(UsageError, match="is not a folder; --layout hallo3 expects videos/ and caption/"):
        find_sources(tmp_path, None, "hallo3")
