# make serve: install what is missing, build, serve the demo model.   make test: everything through ctest.
BUILD ?= build
MODEL ?= models/demo
HOST ?= 127.0.0.1
PORT ?= 8000
JOBS ?= $(shell nproc)
CMAKE = cmake -S . -B $(BUILD) -G Ninja

.PHONY: build serve test asan tsan evict-at-release checks format clean packages packages-test packages-mpi

packages:
	@tools/install_packages build

packages-test:
	@tools/install_packages build test mpi

packages-mpi:
	@tools/install_packages mpi

build: packages
	@$(CMAKE) -DFOREGATE_TESTS=OFF > $(BUILD).configure.log 2>&1 || { cat $(BUILD).configure.log; exit 1; }
	@rm -f $(BUILD).configure.log
	@ninja -C $(BUILD) -j $(JOBS) foregate

serve: build
	@exec $(BUILD)/foregate serve $(MODEL) --host $(HOST) --port $(PORT)

test: packages-test
	$(CMAKE) -DFOREGATE_TESTS=ON
	ninja -C $(BUILD) -j $(JOBS)
	cd $(BUILD) && ctest --output-on-failure -j $(JOBS)

# Flavours: their own build folders, unit tests only.
asan tsan evict-at-release: packages-test
	cmake -S . -B $(BUILD)-$@ -G Ninja -DFOREGATE_TESTS=ON -DFOREGATE_FLAVOUR=$@
	ninja -C $(BUILD)-$@ -j $(JOBS)
	cd $(BUILD)-$@ && ctest --output-on-failure -j $(JOBS) -L unit

checks:
	cd $(BUILD) && ctest --output-on-failure -L checks

format:
	git ls-files '*.h' '*.cpp' '*.inl' | xargs clang-format-14 -i

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-evict-at-release
