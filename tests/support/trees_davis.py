"""A small raw Ref-DAVIS17: misspelt names, Latin-1, repeated texts, void pixels, an object without a sentence."""

from pathlib import Path

from support.trees_pngs import labels, write_frames, write_labels

LEFT, RIGHT, MIDDLE = slice(0, 4), slice(8, 12), slice(4, 8)
ROWS, LOW = slice(2, 8), slice(9, 12)
ANNOTATORS = ("annot1", "annot1_full_video", "annot2", "annot2_full_video")
# Lines of each file; "café" tells Latin-1 from UTF-8. paragliding-xx is a video of another split.
LINES = {
    "annot1": ['clasic-car 1 "A car  "', "", 'dogs-scale 2 "a dog"', 'dogs-scale 1 "a man"', 'paragliding-xx 1 "x"'],
    "annot1_full_video": ['classic-car 1 "A car"', 'dog-scale 1 "a man"', 'dog-scale 2 "a "big" dog"'],
    "annot2": ['classic-car 1 "a café car"', 'dogs-scale 1 "a man"', 'dogs-scale 2 "a dog"'],
    "annot2_full_video": ['classic-car 1 "a car"', 'dogs-scale 1 "a man"', 'dogs-scale 2 "a dog"'],
}
TRAIN_LINES = [f'motor-bike 1 "a bike {i}"' for i in range(4)]


def plant_davis(root: Path, davis: str = "DAVIS") -> Path:
    base = root / davis
    for split, names in (("train", "motorbike\n"), ("val", "dogs-scale\nclassic-car\n")):
        file = base / f"ImageSets/2017/{split}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(names)
    for video, n in (("motorbike", 1), ("dogs-scale", 3), ("classic-car", 2)):
        write_frames(base / "JPEGImages/480p" / video, [f"{t:05d}" for t in range(n)])
    maps = base / "Annotations_unsupervised/480p"
    write_labels(maps / "motorbike/00000.png", labels((1, ROWS, LEFT)))
    man, dog, cat, void = (1, ROWS, LEFT), (2, ROWS, RIGHT), (3, LOW, RIGHT), (255, LOW, MIDDLE)
    write_labels(maps / "dogs-scale/00000.png", labels(man, dog, cat))
    write_labels(maps / "dogs-scale/00001.png", labels(man, void))
    write_labels(maps / "dogs-scale/00002.png", labels())
    for t in range(2):
        write_labels(maps / f"classic-car/{t:05d}.png", labels((1, ROWS, LEFT)))
    for a, name in enumerate(ANNOTATORS):
        plant_text(root, name, [*LINES[name], TRAIN_LINES[a]])
    return root


def plant_text(root: Path, name: str, lines: list[str]) -> None:
    path = root / "davis_text_annotations" / f"Davis17_{name}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode("latin-1" if "annot2" in name else "utf-8"))
