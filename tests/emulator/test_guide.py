"""Tests of the guide as a program: nothing is left out without a mark and a reason, and the checks name what there is.

They run without the emulator: `python3 -m unittest discover tests/emulator`.
"""

import pathlib
import re
import unittest

import checks
import guide

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "GUIDE.md").read_text()


class Reading(unittest.TestCase):
    """The reader on small samples: each of these would otherwise be skipped in silence."""

    def test_blocks_keep_order_section_and_text(self):
        blocks = guide.read("# A\n```sh\none\n```\n## B\n```json\n{}\n```\n```sh\ntwo\n```\n")
        self.assertEqual([(b.section, b.mark, b.text) for b in blocks], [("A", "run", "one\n"), ("B", "run", "two\n")])

    def test_a_block_without_a_kind_is_an_error(self):
        with self.assertRaisesRegex(guide.GuideError, "line 2: a block of the kind ''"):
            guide.read("# A\n```\naws s3 ls\n```\n")

    def test_a_block_with_an_unknown_mark_is_an_error(self):
        with self.assertRaisesRegex(guide.GuideError, "'sh later'"):
            guide.read("```sh later\naws s3 ls\n```\n")

    def test_a_mark_needs_a_reason(self):
        with self.assertRaisesRegex(guide.GuideError, "line 1: a block is left out"):
            guide.read("```sh aws\naws s3 ls\n```\n")
        read = guide.read("<!-- not in the bed: no such service -->\n```sh aws\naws s3 ls\n```\n")
        self.assertEqual([(b.mark, b.reason) for b in read], [("aws", "no such service")])

    def test_a_reason_needs_a_mark(self):
        with self.assertRaisesRegex(guide.GuideError, "that is run"):
            guide.read("<!-- not in the bed: because -->\n```sh\naws s3 ls\n```\n")

    def test_a_block_ends(self):
        with self.assertRaisesRegex(guide.GuideError, "does not end"):
            guide.read("```sh\nls\n")


class TheGuide(unittest.TestCase):
    """The guide that ships."""

    def test_every_block_is_run_or_says_why_not(self):
        blocks = guide.read(TEXT)
        run = [block for block in blocks if block.mark == "run"]
        left_out = [block for block in blocks if block.mark != "run"]
        self.assertTrue(all(block.reason for block in left_out))
        self.assertEqual(len(blocks), len(re.findall(r"^```sh", TEXT, re.MULTILINE)))
        self.assertGreater(len(run), 2 * len(left_out), "most of the guide is proven")

    def test_nothing_is_typed_outside_of_a_block(self):
        outside = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
        self.assertEqual(re.findall(r"^ {4}\S.*|^\$ .*", outside, re.MULTILINE), [])

    def test_no_block_has_a_comment(self):
        """An interactive zsh takes the hash for a command."""
        for block in guide.read(TEXT):
            self.assertNotRegex(block.text, r"(?m)(^|\s)# ", f"line {block.line}")

    def test_each_check_belongs_to_a_section_with_blocks_that_are_run(self):
        run = {block.section for block in guide.read(TEXT) if block.mark == "run"}
        self.assertLessEqual(set(checks.BEFORE) | set(checks.AFTER), run)
        left_out = {block.section for block in guide.read(TEXT) if block.mark == "aws"}
        self.assertLessEqual(set(checks.INSTEAD), left_out)

    def test_a_name_is_set_before_it_is_used(self):
        known = {"HOME", "PATH"}
        for block in guide.read(TEXT):
            text = re.sub(r"'[^']*'", "''", block.text)
            for line in text.splitlines():
                known.update(re.findall(r"\b([A-Z][A-Z_]*)=", line))
                used = set(re.findall(r"\$\{?([A-Z][A-Z_]*)", line))
                self.assertLessEqual(used, known, f"line {block.line}: {line}")


if __name__ == "__main__":
    unittest.main()
