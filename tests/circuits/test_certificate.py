"""A certificate holds for its network, and for no other."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given

from networks import EXAMPLES, example, inputs, networks, with_input
from secateur.analysis import analyze
from secateur.circuits.certificate import Certificate, Difference, verify
from secateur.cli import main
from secateur.errors import FileFormatError, FileVersionError
from secateur.network.storage import load, save


@pytest.fixture
def path(tmp_path):
    return tmp_path / "certificate.json"


def forged(certificate, name, **facts):
    """The certificate with other facts about the node `name`."""
    nodes = tuple(
        dataclasses.replace(node, **facts) if node.name == name else node
        for node in certificate.nodes
    )
    return dataclasses.replace(certificate, nodes=nodes)


class TestOf:
    @given(network=networks())
    def test_holds_for_its_network_and_for_what_runs_through_it(self, network):
        certificate = Certificate.of(network)
        assert verify(certificate, network).holds
        nodes = network.nodes(inputs(network, limit=256))
        for certified in certificate.nodes:
            values = np.moveaxis(nodes[certified.name], 1, 0).reshape(len(certified.low), -1)
            assert (values.min(axis=1) >= certified.low).all()
            assert (values.max(axis=1) <= certified.high).all()
            signed = min(certified.low) < 0
            most = 1 << (certified.bits - signed)
            assert max(certified.high) < most
            assert min(certified.low) >= (-most if signed else 0)

    def test_says_which_ranges_are_attained(self):
        certificate = Certificate.of(example("mlp"))
        assert all(certificate.nodes[0].exact)
        assert all(certificate.nodes[1].exact)

    def test_does_not_depend_on_the_file_format(self, tmp_path):
        network = example("convolutional")
        save(network, tmp_path / "n.safetensors")
        assert verify(Certificate.of(network), load(tmp_path / "n.safetensors")).holds


def attained(certificate):
    """How many ends a certificate says to be attained."""
    return sum(w is not None for n in certificate.nodes for pair in n.witnesses for w in pair)


def rehashed(content):
    """A certificate's JSON with its own hash made right."""
    content = {key: value for key, value in content.items() if key != "sha256"}
    text = json.dumps(content, sort_keys=True)
    return content | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


class TestSaveAndLoad:
    @pytest.mark.parametrize("name", EXAMPLES)
    def test_give_the_same_certificate(self, name, path):
        certificate = Certificate.of(example(name))
        certificate.save(path)
        assert Certificate.load(path) == certificate

    def test_truncated_files_are_refused(self, path):
        Certificate.of(example("mlp")).save(path)
        content = path.read_bytes()
        for length in range(0, len(content), 13):
            path.write_bytes(content[:length])
            with pytest.raises(FileFormatError) as raised:
                Certificate.load(path)
            assert raised.value.path == str(path)

    @pytest.mark.parametrize(
        "change",
        [
            lambda content: content.pop("nodes"),
            lambda content: content.update(format="something else"),
            lambda content: content["nodes"][0].update(surprise=1),
            lambda content: content["nodes"][0].pop("low"),
            lambda content: content["nodes"][0].update(low=[1]),
            lambda content: content.update(nodes=3),
        ],
    )
    def test_what_is_no_certificate_is_refused(self, path, change):
        Certificate.of(example("mlp")).save(path)
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(rehashed(content)))
        with pytest.raises(FileFormatError, match=r"no (valid )?certificate"):
            Certificate.load(path)

    def test_a_later_version_is_named(self, path):
        Certificate.of(example("mlp")).save(path)
        content = json.loads(path.read_text()) | {"version": 3}
        path.write_text(json.dumps(content))
        with pytest.raises(FileVersionError, match="format version 3") as raised:
            Certificate.load(path)
        assert (raised.value.version, raised.value.known) == (3, 2)

    def test_a_missing_file_is_the_systems_error(self, path):
        with pytest.raises(FileNotFoundError):
            Certificate.load(path)


class TestVerify:
    def test_it_prints_one_row_for_every_node(self):
        certificate = Certificate.of(example("mlp"))
        lines = str(certificate).split("\n")
        assert certificate.network[:16] in lines[0]
        for line, node in zip(lines[2:], certificate.nodes, strict=True):
            assert line.split()[0] == node.name
            assert line.split()[3:6] == [str(min(node.low)), str(max(node.high)), str(node.bits)]

    def test_every_forged_range_is_named(self):
        network = example("residual")
        certificate = Certificate.of(network)
        for node in certificate.nodes:
            for channel in range(len(node.low)):
                narrower = (*node.high[:channel], node.high[channel] - 1, *node.high[channel + 1 :])
                verdict = verify(forged(certificate, node.name, high=narrower), network)
                assert verdict.differences[0] == Difference(
                    node.name, channel, "high", node.high[channel] - 1, node.high[channel]
                )
                assert {d.channel for d in verdict.differences} == {channel}
                assert not verdict.holds

    def test_a_forged_width_is_named(self):
        network = example("mlp")
        certificate = Certificate.of(network)
        bits = certificate.nodes[1].bits
        verdict = verify(forged(certificate, "linear0", bits=bits - 1), network)
        assert str(verdict) == f"layer 'linear0': bits is certified as {bits - 1}, but is {bits}"

    def test_sound_cannot_pass_for_exact(self):
        network = example("residual")
        certificate = Certificate.of(network)
        sound = next(node for node in certificate.nodes if not any(node.exact))
        lie = forged(certificate, sound.name, witnesses=((0, 0),) * len(sound.low))
        facts = {(d.layer, d.fact) for d in verify(lie, network).differences}
        assert facts == {(sound.name, "attained low"), (sound.name, "attained high")}

    def test_a_search_certifies_more_and_still_holds(self, path):
        network = example("mlp")
        plain = Certificate.of(network)
        searched = Certificate.of(analyze(network, attain=5.0))
        assert attained(searched) > attained(plain)
        searched.save(path)
        assert verify(Certificate.load(path), network).holds

    def test_a_changed_code_is_found_even_where_no_range_moves(self):
        network = example("mlp")
        certificate = Certificate.of(network)
        layer = network["linear0"]
        # Inputs share one range, so that exchanging two of them moves no range.
        changed = network.with_operations(
            dataclasses.replace(layer, codes=layer.codes[:, ::-1].copy())
        )
        differences = verify(certificate, changed).differences
        assert (differences[0].layer, differences[0].fact) == (None, "the fingerprint")
        # The witnesses tell, too.
        assert "linear0" in {d.layer for d in differences}

    def test_a_changed_table_is_found(self):
        network = example("mlp")
        certificate = Certificate.of(network)
        lookup = network["lookup1"]
        grid = dataclasses.replace(lookup.table.quantize, scale=lookup.table.quantize.scale * 1.5)
        table = dataclasses.replace(lookup.table, quantize=grid)
        changed = network.with_operations(dataclasses.replace(lookup, table=table))
        verdict = verify(certificate, changed)
        assert verdict.another_network
        assert "another network" in str(verdict)

    def test_a_wider_input_is_found(self):
        network = example("mlp")
        verdict = verify(Certificate.of(network), with_input(network, 0, 4))
        assert Difference("input", 0, "high", 3, 4) in verdict.differences

    def test_another_network_is_found(self):
        verdict = verify(Certificate.of(example("mlp")), example("residual"))
        assert "the order of operations" in {d.fact for d in verdict.differences}

    def test_the_verdict_on_a_true_certificate_says_so(self):
        network = example("pooled")
        assert str(verify(Certificate.of(network), network)) == "the certificate holds"


class TestCommandLine:
    @pytest.fixture
    def verify_files(self, tmp_path):
        """Run `secateur verify` on a certificate and a network; return status and output."""

        def run(certificate, network, *options):
            certificate.save(tmp_path / "c.json")
            save(network, tmp_path / "n.safetensors")
            files = [str(tmp_path / name) for name in ("c.json", "n.safetensors")]
            result = CliRunner().invoke(main, ["verify", *files, *options])
            return result.exit_code, result.output

        return run

    def test_a_true_certificate_ends_with_status_0(self, verify_files):
        network = example("mlp")
        assert verify_files(Certificate.of(network), network) == (0, "the certificate holds\n")

    def test_a_false_one_ends_with_status_3_and_where(self, verify_files):
        network = example("mlp")
        lie = forged(Certificate.of(network), "linear0", bits=1)
        status, output = verify_files(lie, network)
        assert status == 3
        assert output.startswith("layer 'linear0': bits is certified as 1, but is ")

    @pytest.mark.parametrize("options", [(), ("--json",)])
    def test_the_independent_checker_says_the_same(self, verify_files, options):
        network = example("mlp")
        true = verify_files(Certificate.of(network), network, "--independent", *options)
        assert true[0] == 0
        lie = forged(Certificate.of(network), "linear0", bits=1)
        status, output = verify_files(lie, network, "--independent", *options)
        assert status == 3
        assert "bits is certified as 1" in output

    def test_json_says_the_same(self, verify_files):
        network = example("mlp")
        lie = forged(Certificate.of(network), "linear0", bits=1)
        status, output = verify_files(lie, network, "--json")
        verdict = json.loads(output)
        assert status == 3
        assert verdict["holds"] is False
        assert verdict["differences"][0]["layer"] == "linear0"
        assert verdict["differences"][0]["certified"] == 1
        assert json.loads(verify_files(Certificate.of(network), network, "--json")[1])["holds"]

    def test_a_damaged_file_ends_with_status_1_and_its_name(self, tmp_path):
        Certificate.of(example("mlp")).save(tmp_path / "c.json")
        (tmp_path / "n.safetensors").write_bytes(b"nothing")
        files = [str(tmp_path / name) for name in ("c.json", "n.safetensors")]
        result = CliRunner().invoke(main, ["verify", *files])
        assert result.exit_code == 1
        assert "n.safetensors is truncated" in result.output
