import os
import resource

from paddock.runner import hygiene


def test_libraries_find_their_settings_and_those_of_the_user_win():
    variables = {"HF_HUB_OFFLINE": "0"}

    hygiene.prepare_environment(variables, num_gpu=0)

    assert variables["HF_HUB_OFFLINE"] == "0"
    assert variables["TRANSFORMERS_VERBOSITY"] == "error"
    assert variables["TOKENIZERS_PARALLELISM"] == "false"


def test_limits_cannot_be_changed_inside_the_block_and_can_be_after_it():
    original = resource.setrlimit
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with hygiene.file_limit_kept():
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))

    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    assert resource.setrlimit is original


def test_descriptors_are_kept_from_children():
    read_end, write_end = os.pipe()
    os.set_inheritable(read_end, True)

    hygiene.keep_to_ourselves(read_end, write_end)

    assert not os.get_inheritable(read_end)
    os.close(read_end)
    os.close(write_end)
