"""WebDataset: samples, images and labels in tar files, and archives that are not what they should be."""

import io
import json
import tarfile

import pytest
from test_layouts import facts, opened, png

from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.decoding import decode


def write(file, *members):
    """Write members, which may come twice; a pair of type and target is a link."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                info.type, info.linkname = content
                archive.addfile(info)
                continue
            encoded = content.encode() if isinstance(content, str) else content
            info.size = len(encoded)
            archive.addfile(info, io.BytesIO(encoded))
    return file


def shades(source):
    return {s.id: decode(source.encoded(i))[0, 0, 0].item() for i, s in enumerate(source.samples)}


def test_a_key_that_comes_again_is_another_sample(tmp_path):
    file = write(
        tmp_path / "a.tar", ("0.png", png(1)), ("0.cls", "fake"), ("0.png", png(2)), ("0.cls", "real")
    )
    source = opened(file)
    assert facts(source) == {"a/0": (1, "fake", None), "a/0#2": (0, "real", None)}
    assert shades(source) == {"a/0": 1, "a/0#2": 2}
    assert source.notices == [
        "samples with the key of another in their tar file: 1, each kept as a separate sample"
    ]


def test_labels_behind_all_images_belong_to_them(tmp_path):
    file = write(
        tmp_path / "a.tar", ("0.png", png(1)), ("1.png", png(2)), ("0.cls", "fake"), ("1.cls", "real")
    )
    assert facts(opened(file)) == {"a/0": (1, "fake", None), "a/1": (0, "real", None)}


def test_shards_with_the_same_keys_stay_apart_and_a_sample_that_continues_is_one(tmp_path):
    write(tmp_path / "x-0.tar", ("0.png", png(1)), ("0.cls", "fake"), ("9.png", png(3)))
    write(tmp_path / "x-1.tar", ("9.cls", "real"), ("0.png", png(2)), ("0.cls", "real"))
    source = opened(tmp_path)
    assert facts(source) == {
        "x-0/0": (1, "fake", None), "x-0/9": (0, "real", None), "x-1/0": (0, "real", None),
    }  # fmt: skip
    assert source.notices == ["samples that continue in the next tar file: 1, joined"]


def test_of_several_images_the_plain_one_is_taken_or_it_is_asked(tmp_path):
    members = [("0.png", png(1)), ("0.seg.png", png(9)), ("0.cls", "fake")]
    source = opened(write(tmp_path / "a.tar", *members))
    assert shades(source) == {"a/0": 1}
    assert ".png is used, not .seg.png" in source.notices[0]
    assert shades(opened(tmp_path / "a.tar", columns={"image": "seg.png"})) == {"a/0": 9}
    for name in ("jpg", "input.png"):
        both = [
            (f"0.{name}", png(1)),
            ("0.webp" if name == "jpg" else "0.output.png", png(2)),
            ("0.cls", "fake"),
        ]
        with pytest.raises(UserError, match="'0' has several images") as caught:
            opened(write(tmp_path / "b.tar", *both))
        assert f"columns: {{image: {name}}}" in str(caught.value.hint)
        assert shades(opened(tmp_path / "b.tar", columns={"image": name})) == {"b/0": 1}


@pytest.mark.parametrize(
    ("suffix", "fake", "real"),
    [
        ("cls", "fake", "real"),
        ("CLS", "AI\n", "Nature\n"),
        ("json", '{"label": "fake"}', '{"label": "real"}'),
        ("json", '{"class": "ai"}', '{"class": "human"}'),
        ("json", '{"meta": {"target": "synthetic"}}', '{"meta": {"target": "real"}}'),
        ("txt", "fake", "real"),
    ],
)
def test_labels_in_files_of_each_kind(tmp_path, suffix, fake, real):
    members = [("0.png", png(1)), (f"0.{suffix}", fake), ("1.png", png(2)), (f"1.{suffix}", real)]
    assert facts(opened(write(tmp_path / "a.tar", *members))) == {
        "a/0": (1, "fake", None), "a/1": (0, "real", None),
    }  # fmt: skip


@pytest.mark.parametrize("suffix", ["cls", "json", "txt"])
def test_numbers_are_asked_for_in_files_of_each_kind(tmp_path, suffix):
    def content(number):
        return json.dumps({"label": number}) if suffix == "json" else f"{number}\n"

    members = [("0.png", png(1)), (f"0.{suffix}", content(1)), ("1.png", png(2)), (f"1.{suffix}", content(0))]
    file = write(tmp_path / "a.tar", *members)
    with pytest.raises(UserError, match="'0': cannot tell whether label"):
        opened(file)
    assert [s.label for s in opened(file, labels={0: "real", 1: "fake"}).samples] == [1, 0]


def test_a_caption_is_no_label(tmp_path):
    members = [
        ("real/0.png", png(1)),
        ("real/0.txt", "AI art"),
        ("fake/1.png", png(2)),
        ("fake/1.txt", "a cat"),
    ]
    assert [s.label for s in opened(write(tmp_path / "a.tar", *members)).samples] == [0, 1]
    with pytest.raises(UserError, match="no images with a label"):
        opened(
            write(
                tmp_path / "b.tar",
                ("0.png", png(1)),
                ("0.txt", "fake plastic trees"),
                ("1.png", png(2)),
                ("1.txt", "a cat"),
            )
        )


def test_splits_stand_in_the_folders_above_tar_files(tmp_path):
    for split in ("train", "validation", "test"):
        write(tmp_path / split / "0.tar", ("0.png", png(1)), ("0.cls", "fake"))
    assert [s.split for s in opened(tmp_path).samples] == ["test", "train", "val"]


def test_dots_in_folders_and_in_numbers(tmp_path):
    members = [
        ("v1.0/0.png", png(1)),
        ("v1.0/0.cls", "real"),
        ("cfg_7.5.png", png(2)),
        ("cfg_7.5.cls", "fake"),
    ]
    assert facts(opened(write(tmp_path / "a.tar", *members, ("cfg_9.0.png", png(3)), ("cfg_9.0.cls", "fake")))) == {
        "a/v1.0/0": (0, "real", None), "a/cfg_7.5": (1, "fake", None), "a/cfg_9.0": (1, "fake", None),
    }  # fmt: skip


def test_links_lead_inside_the_archive_and_paths_never_out_of_it(tmp_path):
    (tmp_path / "outside.png").write_bytes(png(9))
    file = write(
        tmp_path / "data" / "a.tar",
        ("/real/0.png", png(1)),
        ("../../fake/1.png", png(2)),
        ("fake/2.png", (tarfile.LNKTYPE, "real/0.png")),
        ("fake/3.png", (tarfile.SYMTYPE, "../real/0.png")),
        ("fake/4.png", (tarfile.SYMTYPE, str(tmp_path / "outside.png"))),
        ("fake/5.png", (tarfile.SYMTYPE, "5.png")),
    )
    source = opened(file)
    assert shades(source) == {"a/real/0": 1, "a/fake/1": 2, "a/fake/2": 1, "a/fake/3": 1}
    assert source.notices == ["a.tar: links without content left out: 2"]


def test_braces_and_wildcards_name_shards(tmp_path):
    for number in range(3):
        write(tmp_path / f"s-{number:04}.tar", (f"{number}.png", png(number)), (f"{number}.cls", "fake"))
    for name in ("s-{0000..0002}.tar", "s-*.tar", "s-000{0,1,2}.tar"):
        assert list(facts(opened(tmp_path / name))) == ["s-0000/0", "s-0001/1", "s-0002/2"]
    with pytest.raises(UserError, match=r"no file '.*s-0003\.tar'"):
        opened(tmp_path / "s-{0000..0005}.tar")


@pytest.mark.parametrize("cut", range(512, 512 * 9, 200))
def test_no_label_is_read_from_a_file_that_is_cut_off(tmp_path, cut):
    file = write(
        tmp_path / "a.tar", ("0.png", png(1)), ("0.cls", "fake"), ("1.png", png(2)), ("1.cls", "real")
    )
    whole = facts(opened(file))
    file.write_bytes(file.read_bytes()[:cut])
    said = ""
    try:
        source = opened(file)
    except UserError as error:
        said = str(error)
    if said:
        assert "cut off" in said or "tar file" in said
        return
    assert facts(source).items() <= whole.items()
    assert any("cut off" in notice for notice in source.notices) or facts(source) == whole


def test_compressed_tar_files_are_told(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("real/0.png"))
    with pytest.raises(UserError, match=r"has compressed tar files: a\.tar\.gz"):
        opened(tmp_path)
    write(tmp_path / "b.tar", ("real/0.png", png(1)))
    assert opened(tmp_path).notices == ["compressed tar files left out: 1 (a.tar.gz); unpack them to .tar"]
