# Only for ROS 2 from PyPI; given by setup.py as -DCMAKE_PROJECT_INCLUDE. A robot with a normal ROS
# installation never reads this file.
#
# Two things keep CMake from generating there, and both are mended at the end of configuring:
# the exported targets of those wheels name include folders of the machine that built them, which
# do not exist here; and an environment that lies inside the checkout (.venv) puts NumPy's include
# folder below the source folder, which CMake forbids in a target that is installed.

function(sphinx_ros_mend_include_folders)
  get_property(imported DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" PROPERTY IMPORTED_TARGETS)
  get_property(own DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS imported own)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT folders)
      continue()
    endif()
    set(kept "")
    foreach(folder IN LISTS folders)
      string(FIND "${folder}" "${CMAKE_CURRENT_SOURCE_DIR}/" inside)
      if(folder MATCHES "^\\$<")
        list(APPEND kept "${folder}")
      elseif(inside EQUAL 0 AND target IN_LIST own)
        list(APPEND kept "$<BUILD_INTERFACE:${folder}>")
      elseif(EXISTS "${folder}")
        list(APPEND kept "${folder}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
  endforeach()
  # Most of the time goes into reading the same headers again; these files can be joined.
  foreach(kind fastrtps_c fastrtps_cpp c cpp)
    set_target_properties(${PROJECT_NAME}__rosidl_typesupport_${kind} PROPERTIES
      UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  endforeach()
endfunction()

cmake_language(DEFER CALL sphinx_ros_mend_include_folders)
