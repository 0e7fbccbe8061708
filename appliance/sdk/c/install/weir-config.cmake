# find_package(weir CONFIG) gives weir::weir, the shared library, and weir::static.
get_filename_component(_weir_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET weir::weir)
  add_library(weir::weir SHARED IMPORTED)
  set_target_properties(weir::weir PROPERTIES
    IMPORTED_LOCATION "${_weir_prefix}/lib/libweir.so.@VERSION@"
    IMPORTED_SONAME "libweir.so.@SONAME@"
    INTERFACE_INCLUDE_DIRECTORIES "${_weir_prefix}/include")
endif()

if(NOT TARGET weir::static)
  add_library(weir::static STATIC IMPORTED)
  set_target_properties(weir::static PROPERTIES
    IMPORTED_LOCATION "${_weir_prefix}/lib/libweir.a"
    IMPORTED_LINK_INTERFACE_LANGUAGES "C"
    INTERFACE_INCLUDE_DIRECTORIES "${_weir_prefix}/include"
    INTERFACE_LINK_LIBRARIES "gcc_s;pthread;m;dl")
endif()

unset(_weir_prefix)
