"What pip needs to know; every value is read from settings.ini, the one place where they are written."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

parser = ConfigParser(delimiters=["="])
parser.read("settings.ini", encoding="utf-8")
config = parser["DEFAULT"]

extras = {key.removesuffix("_requirements"): value.split() for key, value in config.items() if key.endswith("_requirements")}

setup(
    name=config["lib_name"],
    version=config["version"],
    description=config["description"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=config["author"],
    author_email=config["author_email"],
    license="Apache-2.0",
    url=config["git_url"],
    keywords=config["keywords"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Natural Language :: English",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=find_packages(include=["faceshifter", "faceshifter.*"]),
    package_data={"faceshifter": ["py.typed", "weights_data/*", "recipes/*"]},
    python_requires=f">={config['min_python']}",
    install_requires=config["requirements"].split(),
    extras_require=extras,
    entry_points={"console_scripts": config["console_scripts"].split(), "nbdev": [f"{config['lib_path']}={config['lib_path']}._modidx:d"]},
    zip_safe=False,
)
